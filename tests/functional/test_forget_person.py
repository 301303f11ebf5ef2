"""Forget a person everywhere, on the pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from support.people_index import RecordedCorrections, encoding, put_video, save_gallery
from support.waiting import DEADLINE_S, wait_until
from support.web_pages import local_path, pages_client, post, web_parts

from rollcall.cli.forget_on_pages import EverywhereForgetting
from rollcall.core.errors import StoreUnavailable
from rollcall.core.settings import Settings
from rollcall.gallery.forgetting import Mention
from rollcall.gallery.gallery_locations import GalleryFile
from rollcall.web.parts import WebParts
from rollcall.web.removals import Removal, Removals

HEADER = b"name,major,year,first_seen_s,last_seen_s,frames,distance\r\n"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WebParts]:
    with web_parts(tmp_path) as built:
        yield replace(built, corrections=RecordedCorrections(built.changes))


def start(client: FlaskClient, path: str, **values: str) -> str:
    """Start in the background, and return the path of the page that shows it."""
    answer = post(client, path, {"name": "Ada", **values})
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return local_path(answer.location)


def finished(client: FlaskClient, path: str) -> str:
    """The page, once nothing more is searched or removed."""
    wait_until(lambda: "every 2s" not in text_of(client, path), "the end of the removal")
    return text_of(client, path)


def text_of(client: FlaskClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    return page[page.index("<main") :]


def put_result(parts: WebParts, key: str, *names: str) -> None:
    rows = b"".join(b"%s,,,1,2,3,0.4\r\n" % name.encode() for name in names)
    parts.store.write(parts.settings.output_bucket, key, HEADER + rows, "text/csv", {})


def test_everything_is_listed_and_removed_after_the_name_was_typed(
    client: FlaskClient, parts: WebParts
) -> None:
    save_gallery(parts, {"Ada": [encoding(1), encoding(2)], "Ben": [encoding(3)]})
    put_result(parts, "1.csv", "Ada", "Ben")
    put_result(parts, "2.csv", "Ben")
    listed_at = start(client, "/people/forget/list")
    listed = finished(client, listed_at)
    assert "2 entries of the gallery" in listed
    assert "1 row in results (CSV)" in listed
    assert f"s3://{parts.settings.output_bucket}/1.csv" in listed
    assert "The student table was not searched" in listed
    assert "Ada" in parts.known.current().names

    done = finished(client, start(client, "/people/forget", typed=" Ada "))
    assert "The person is forgotten" in done
    assert "every 20s" in done, "the second removal follows"
    assert "Ada" not in done
    search = client.get(listed_at)
    assert search.status_code == 404
    assert "the person is forgotten" in search.get_data(as_text=True)
    assert parts.known.current().names == {"Ben"}
    body = parts.store.read(parts.settings.output_bucket, "1.csv", 1000)
    assert b"Ada" not in body
    assert b"Ben" in body
    (change,) = parts.changes.latest(9)
    assert (change.action, change.name, change.who) == ("forget", "", "local")
    assert change.details == {"gallery": 2, "result": 1}


def test_a_wrong_name_leads_back_to_the_form(client: FlaskClient, parts: WebParts) -> None:
    save_gallery(parts, {"Ada": [encoding(1)]})
    path = start(client, "/people/forget/list")
    form = finished(client, path)
    assert 'role="alert"' not in form
    assert f'name="list" value="{path.rpartition("/")[2]}"' in form
    wrong = {"typed": '"Ben"', "list": path.rpartition("/")[2]}
    assert start(client, "/people/forget", **wrong) == path
    again = text_of(client, path)
    assert "“&#34;Ben&#34;” is not the name of this person, so nothing was removed" in again
    assert 'value="&#34;Ben&#34;" autofocus aria-invalid="true"' in again
    assert 'role="alert"' not in text_of(client, path), "it is said once"

    assert start(client, "/people/forget", typed=" ", list=wrong["list"]) == path
    assert "No name was typed, so nothing was removed. Type Ada." in text_of(client, path)
    assert parts.known.current().names == {"Ada"}
    assert parts.changes.latest(9) == []


@pytest.mark.parametrize("listed", ["", "gone", "Ben"])
def test_a_wrong_name_starts_the_search_again_if_its_list_is_gone(
    client: FlaskClient, parts: WebParts, listed: str
) -> None:
    save_gallery(parts, {"Ada": [encoding(1)], "Ben": [encoding(2)]})
    if listed == "Ben":
        path = start(client, "/people/forget/list", name="Ben")
        finished(client, path)
        listed = path.rpartition("/")[2]
    path = start(client, "/people/forget", typed="Ben", list=listed)
    assert path.rpartition("/")[2] != listed
    wait_until(lambda: parts.removals.get(path.rpartition("/")[2]).done, "the end")  # type: ignore[union-attr]
    page = text_of(client, path)
    assert "<h1>Forget Ada</h1>" in page
    assert "“Ben” is not the name of this person" in page
    assert parts.known.current().names == {"Ada", "Ben"}


class SlowForgetting:
    """Finds a place each time the test allows it."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None
        self.repeat_after_s = 3600.0

    def mentions(self, name: str, dry_run: bool) -> Iterator[Mention]:
        for number in range(3):
            assert self.go.acquire(timeout=DEADLINE_S), "the test has not gone on"
            if self.error:
                raise self.error
            yield Mention("result", f"s3://out/{number}.csv", 1)
        yield Mention("report", "s3://reports/9.json", 0, problem="it is not JSON")
        yield Mention("gallery", "s3://secrets/gallery.npz", 2, "v1")

    def unreached(self) -> list[str]:
        return []


@pytest.fixture
def slow(parts: WebParts) -> tuple[FlaskClient, SlowForgetting]:
    forgetting = SlowForgetting()
    removals = Removals(forgetting, parts.changes, parts.known)
    return pages_client(replace(parts, removals=removals)), forgetting


def test_a_reload_shows_how_far_it_is(slow: tuple[FlaskClient, SlowForgetting]) -> None:
    client, forgetting = slow
    path = start(client, "/people/forget/list")
    assert "0 places so far" in text_of(client, path)
    forgetting.go.release()
    wait_until(lambda: "1 place so far" in text_of(client, path), "the first place")
    assert start(client, "/people/forget/list") == path, "it runs already"
    other = post(client, "/people/forget/list", {"name": "Ben"})
    assert "wait until that has ended" in other.get_data(as_text=True)
    forgetting.go.release(2)
    page = finished(client, path)
    assert "3 rows in results (CSV)" in page
    assert "1 old version of the gallery" in page
    assert "s3://reports/9.json: it is not JSON" in page


def test_a_page_shows_the_state_of_one_moment(parts: WebParts) -> None:
    forgetting = SlowForgetting()
    removals = Removals(forgetting, parts.changes, parts.known)
    removal_id = removals.start("Ada", "ada", dry_run=True).id
    before = removals.get(removal_id)
    assert before is not None
    forgetting.go.release(3)
    wait_until(lambda: removals.get(removal_id).done, "the search")  # type: ignore[union-attr]
    after = removals.get(removal_id)
    assert after is not None
    assert (before.found, before.shown, before.problems, before.done) == (0, [], [], False)
    assert (after.found, len(after.shown), len(after.problems), after.done) == (4, 4, 1, True)


def test_an_unchanged_state_is_answered_304(slow: tuple[FlaskClient, SlowForgetting]) -> None:
    client, forgetting = slow
    path = start(client, "/people/forget/list")
    headers = {"HX-Request": "true"}
    first = client.get(path, headers=headers)
    headers["If-None-Match"] = first.headers["ETag"]
    assert client.get(path, headers=headers).status_code == 304
    forgetting.go.release(3)
    wait_until(lambda: client.get(path, headers=headers).status_code == 200, "another state")


def test_a_failure_is_shown_and_nothing_is_logged(
    slow: tuple[FlaskClient, SlowForgetting], parts: WebParts
) -> None:
    client, forgetting = slow
    forgetting.error = StoreUnavailable("the store does not answer")
    forgetting.go.release()
    page = finished(client, start(client, "/people/forget", typed="Ada"))
    assert "the store does not answer" in page
    assert "Start again" in page
    assert '<input type="hidden" name="name" value="Ada">' in page
    assert parts.changes.latest(9) == []


def test_the_person_is_named_while_it_runs(
    slow: tuple[FlaskClient, SlowForgetting], parts: WebParts
) -> None:
    client, forgetting = slow
    put_video(parts.database, "1.mp4", [("Ada", [(1, 2)])])
    path = start(client, "/people/forget", typed="Ada")
    assert "Forgetting Ada" in text_of(client, path)
    assert path in text_of(client, "/people/1")
    forgetting.go.release(3)
    finished(client, path)
    assert path not in text_of(client, "/people/1")


def test_what_functions_have_written_meanwhile_is_removed_later(
    slow: tuple[FlaskClient, SlowForgetting], parts: WebParts
) -> None:
    client, forgetting = slow
    forgetting.repeat_after_s = 0.1
    forgetting.go.release(6)
    path = start(client, "/people/forget", typed="Ada")
    wait_until(
        lambda: "removed again, from 4 places." in text_of(client, path), "the second removal"
    )
    assert "Ada" not in text_of(client, path)
    assert "hx-trigger" not in text_of(client, path)
    lines = parts.changes.latest(9)
    assert [(line.action, line.who, line.name) for line in lines] == [("forget", "local", "")] * 2


def test_somebody_who_was_enrolled_again_stays(
    slow: tuple[FlaskClient, SlowForgetting], parts: WebParts
) -> None:
    client, forgetting = slow
    forgetting.repeat_after_s = 0.1
    forgetting.go.release(2)
    path = start(client, "/people/forget", typed="Ada")
    save_gallery(parts, {"Ada": [encoding(1)]})
    forgetting.go.release()
    wait_until(lambda: "was enrolled again" in text_of(client, path), "the end")
    assert len(parts.changes.latest(9)) == 1


def test_a_second_removal_that_fails_says_so_without_the_name(
    slow: tuple[FlaskClient, SlowForgetting], caplog: pytest.LogCaptureFixture
) -> None:
    client, forgetting = slow
    forgetting.repeat_after_s = 0.1
    forgetting.go.release(3)
    path = start(client, "/people/forget", typed="Ada")
    finished(client, path)
    forgetting.error = StoreUnavailable("the store has lost Ada")
    forgetting.go.release()
    wait_until(lambda: "stopped with an error." in text_of(client, path), "the second removal")
    assert "lost (forgotten)" in caplog.text
    assert "Ada" not in caplog.text


def test_a_second_removal_that_fails_is_never_shown_as_done(
    parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that shows what became of the second removal asks no more."""
    forgetting = SlowForgetting()
    forgetting.repeat_after_s = 0.0
    removals = Removals(forgetting, parts.changes, parts.known)
    removal = removals.start("Ada", "ada", dry_run=False)
    shown: list[str] = []

    def state() -> Removal:
        found = removals.get(removal.id)
        assert found is not None
        return found

    def log_error(*_: object) -> None:
        shown.append(state().repeated)

    monkeypatch.setattr("rollcall.web.removals.log.error", log_error)
    forgetting.go.release(3)
    wait_until(lambda: state().done, "the first removal")
    forgetting.error = StoreUnavailable("the store does not answer")
    forgetting.go.release()
    wait_until(lambda: state().repeated, "the second removal")
    assert "stopped with an error" in state().repeated
    assert shown == [""]


@pytest.mark.parametrize("step", ["search", "log"])
def test_an_unexpected_error_of_the_second_removal_says_so_without_the_name(
    slow: tuple[FlaskClient, SlowForgetting],
    parts: WebParts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    client, forgetting = slow
    forgetting.repeat_after_s = 0.1
    forgetting.go.release(3)
    path = start(client, "/people/forget", typed="Ada")
    finished(client, path)

    def fail(*_: object, **__: object) -> int:
        raise ValueError("no line about Ada")

    if step == "search":
        forgetting.error = ValueError("no place about Ada")
    else:
        monkeypatch.setattr("rollcall.index.change_log.SqlChangeLog.record", fail)
    forgetting.go.release(3)
    wait_until(lambda: "stopped with an error." in text_of(client, path), "the second removal")
    assert "ValueError: no " in caplog.text
    assert "Ada" not in caplog.text


def test_the_page_says_what_is_not_reached_to_people_who_run_nothing(
    parts: WebParts, tmp_path: Path
) -> None:
    settings = Settings(
        encodings_refresh_s=60, max_call_s=280, report_bucket="", results_folder="missing"
    )
    forgetting = EverywhereForgetting(settings, GalleryFile(tmp_path / "gallery.npz"))
    assert forgetting.repeat_after_s == 340
    assert forgetting.unreached() == []  # there is no worker
    with_worker = EverywhereForgetting(
        replace(settings, result_queue_url="https://sqs.test/results"), forgetting.location
    )
    assert len(with_worker.unreached()) == 2
    removals = Removals(SlowForgetting(), parts.changes, parts.known)
    client = pages_client(replace(parts, removals=removals))
    removals._forgetting.go.release(3)  # type: ignore[attr-defined]
    page = finished(client, start(client, "/people/forget/list"))
    assert "a video that is being recognised may still get the name" in page
    assert "The photos that were enrolled" in page
    assert "RESULTS_FOLDER" not in page
    assert "ENCODINGS_REFRESH_S" not in page


def test_a_removal_of_an_earlier_process_is_unknown(client: FlaskClient) -> None:
    answer = client.get("/people/forget/abc")
    assert answer.status_code == 404
    assert "start the removal again" in answer.get_data(as_text=True)
