"""The page of problems, and the log: try again, dismiss, and undo."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from sqlalchemy import update
from support.browser import check_page
from support.databases import open_tables
from support.index_samples import samples
from support.sample_rows import BUCKET, add_video, fail, fill, give_up_messages, take
from support.web_pages import make_parts, pages_client, post, serve_pages, web_parts

from rollcall.core import retry
from rollcall.core.types import ObjectInfo, SkippedUpload
from rollcall.database.index_tables import change
from rollcall.index.problem_queries import Cause
from rollcall.queues.sql_listings import SqlListings
from rollcall.web.parts import WebParts
from rollcall.web.problem_texts import meaning_of, title_of
from rollcall.web.user_file import UserFile


def skip(parts: WebParts, *keys: str) -> None:
    """Do what a scan does with objects that are not videos."""
    skipped = [
        SkippedUpload(ObjectInfo(BUCKET, key, 1, "e", modified_s=1e9), "without a video extension")
        for key in keys
    ]
    with SqlListings(parts.database).scan(BUCKET, "out", lambda: None) as scan:
        assert scan
        scan.store_skipped(skipped)


def test_there_are_no_problems(client: FlaskClient) -> None:
    assert "No problems." in client.get("/problems").text


def test_each_cause_has_one_card_with_its_reasons(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, "a.mp4", "b.mp4")
    fail(parts, "c.mp4", code="http_502", message="the gateway answered <b>502</b>")
    video_id = add_video(parts, "a.mp4", status="error")
    give_up_messages(parts, 1)
    parts.queue.add_bad_event(b'{"x": "<i>"}', "not an event")
    skip(parts, "notes.txt")
    text = client.get("/problems").text
    for title in (
        "2 videos cannot be decoded",
        "1 video failed, because the gateway answered 502",
        "1 message about a result was given up",
        "1 event could not be read",
        "1 upload is not a video",
    ):
        assert f">{title}</h2>" in text
    assert f'<a href="/videos/{video_id}">a.mp4</a>' in text
    assert "the gateway answered &lt;b&gt;502&lt;/b&gt;" in text
    assert "{&#34;x&#34;: &#34;&lt;i&gt;&#34;}" in text
    assert "notes.txt" in text


def test_all_of_a_cause_are_tried_again(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, "a.mp4", "b.mp4")
    fail(parts, "c.mp4", code="gone")
    answer = post(client, "/problems/dead/retry", {"code": "not_a_video"})
    assert (answer.status_code, answer.location) == (303, "/problems")
    assert parts.queue.counts()["queued"] == 2
    text = client.get("/problems").text
    assert "Tried again: 2 videos cannot be decoded." in text
    assert "1 video was deleted before it was recognised" in text
    (line,) = parts.changes.latest(10)
    assert (line.who, line.action, line.can_undo) == ("local", "retry", False)


def test_one_problem_is_tried_again(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, "a.mp4", "b.mp4")
    work = parts.queue.latest(1, "dead")[0]
    form = {"code": "not_a_video", "number": work.id, "name": work.key}
    post(client, "/problems/dead/retry", form)
    assert [each.key for each in parts.queue.latest(9, "queued")] == [work.key]
    assert parts.changes.latest(1)[0].name == work.key


def test_given_up_messages_are_sent_again(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, "a.mp4")
    give_up_messages(parts)
    post(client, "/problems/message/retry")
    assert parts.queue.outbox.counts()["dead"] == 0
    assert parts.queue.outbox.counts()["queued"] == 1


def test_a_dismissed_problem_comes_back_by_undo(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, "a.mp4", "b.mp4")
    post(client, "/problems/dead/dismiss", {"code": "not_a_video"})
    text = client.get("/problems").text
    assert "No problems." in text
    assert "Dismissed: 2 videos cannot be decoded." in text
    assert 'action="/log/1/undo"' in text
    assert "All is well." in client.get("/").text
    post(client, "/log/1/undo")
    assert "2 videos cannot be decoded" in client.get("/problems").text
    assert [line.action for line in parts.changes.latest(9)] == ["undo", "dismiss"]
    again = post(client, "/log/1/undo")
    assert again.status_code == 400
    assert "was undone before" in again.text


def test_a_problem_that_happens_again_is_shown_again(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, "a.mp4")
    post(client, "/problems/dead/dismiss", {"code": "not_a_video"})
    parts.queue.replay()
    parts.queue.bury(take(parts), "not_a_video", "still broken")
    assert "1 video cannot be decoded" in client.get("/problems").text


def test_an_undo_leaves_what_was_dismissed_again_later(
    client: FlaskClient, parts: WebParts
) -> None:
    fail(parts, "a.mp4")
    post(client, "/problems/dead/dismiss", {"code": "not_a_video"})
    parts.queue.replay()
    parts.queue.bury(take(parts), "not_a_video", "still broken")
    post(client, "/problems/dead/dismiss", {"code": "not_a_video"})
    post(client, "/log/1/undo")
    assert "No problems." in client.get("/problems").text
    post(client, "/log/2/undo")
    assert "1 video cannot be decoded" in client.get("/problems").text


@pytest.mark.parametrize("kind", ["bad", "skipped", "message"])
def test_other_problems_are_dismissed(client: FlaskClient, parts: WebParts, kind: str) -> None:
    fail(parts, "a.mp4")
    post(client, "/problems/dead/dismiss", {"code": "not_a_video"})
    give_up_messages(parts)
    parts.queue.add_bad_event(b"{", "not an event")
    skip(parts, "notes.txt")
    assert client.get("/problems").text.count("<section") == 3
    post(client, f"/problems/{kind}/dismiss")
    assert client.get("/problems").text.count("<section") == 2


def test_only_what_helps_can_be_done(client: FlaskClient, parts: WebParts) -> None:
    parts.queue.add_bad_event(b"{", "not an event")
    assert "Try again" not in client.get("/problems").text
    answer = post(client, "/problems/bad/retry")
    assert (answer.status_code, parts.changes.latest(1)) == (400, [])
    assert post(client, "/problems/other/retry").status_code == 404
    settled = post(client, "/problems/dead/retry", {"code": "gone"})
    assert settled.status_code == 303
    assert "somebody else has settled this already" in client.get("/problems").text


def test_skipped_uploads_are_listed_but_nothing_is_wrong(
    client: FlaskClient, parts: WebParts
) -> None:
    skip(parts, "notes.txt", "cover.jpg")
    assert "2 uploads are not videos" in client.get("/problems").text
    assert "All is well." in client.get("/").text
    skip(parts, "cover.jpg")
    text = client.get("/problems").text
    assert "1 upload is not a video" in text
    assert "notes.txt" not in text


def test_only_the_newest_problems_are_listed(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, *(f"{number}.mp4" for number in range(25)))
    text = client.get("/problems").text
    assert ">the newest 20 videos</summary>" in text
    assert "5 older ones are not listed; the buttons above are about all of them." in text


def test_a_viewer_sees_problems_without_buttons(tmp_path: Path) -> None:
    users = UserFile(tmp_path / "users")
    users.put("vera", "viewer", "three quiet words")
    with web_parts(tmp_path, web_users=str(users.path), web_secret="k" * 32) as parts:
        fail(parts, *(f"{number}.mp4" for number in range(25)))
        client = pages_client(parts)
        page = client.get("/sign-in").text
        token = page.partition('name="csrf_token" value="')[2].partition('"')[0]
        form = {"name": "vera", "password": "three quiet words", "csrf_token": token}
        client.post("/sign-in", data=form)
        text = client.get("/problems").text
        assert "25 videos cannot be decoded" in text
        assert "Dismiss" not in text
        assert "the buttons above" not in text


NOT_ABOUT_A_VIDEO = {"bad_event", "inbox_unavailable", "photo", "results_unavailable"}


@pytest.mark.parametrize("code", sorted(retry._KNOWN_ERRORS.keys() - NOT_ABOUT_A_VIDEO))
def test_every_error_of_the_function_has_a_sentence(code: str) -> None:
    assert f"({code})" not in title_of(Cause("dead", code, 1))


def test_unknown_codes_are_shown() -> None:
    assert title_of(Cause("dead", "odd", 2)) == "2 videos failed (odd)"
    assert meaning_of(Cause("dead", "http_503", 1)).one.endswith("answered 503")


def test_the_log_can_be_filtered_and_paged(client: FlaskClient, parts: WebParts) -> None:
    for number in range(60):
        parts.changes.record("ada", "enrol", f"person {number}")
    text = client.get("/log").text
    assert text.count("<li data-row") == 50
    assert "<strong>ada</strong> enrolled person 59" in text
    assert 'href="/log?before=11"' in text
    older = client.get("/log?before=11").text
    assert older.count("<li data-row") == 10
    assert 'href="/log">Newer' in older
    one = client.get("/log?name=person 7").text
    assert one.count("<li data-row") == 1
    assert "no line about" in client.get("/log?name=nobody").text


def test_the_log_can_show_only_changes(client: FlaskClient, parts: WebParts) -> None:
    for number in range(60):
        parts.changes.record("ada", "enrol", f"person {number}")
        parts.changes.record("ada", "sign_in")
        parts.changes.record("ada", "view", f"person {number}")
    text = client.get("/log?only=changes").text
    assert text.count("<li data-row") == 50
    assert "signed in" not in text
    assert "looked at" not in text
    (older,) = re.findall(r'href="(/log\?only=changes&amp;before=[0-9]+)"', text)
    assert client.get(older.replace("&amp;", "&")).text.count("<li data-row") == 10
    text = client.get("/log?name=person 7&only=changes").text
    assert text.count("<li data-row") == 1
    assert 'value="changes" checked' in text


def test_the_log_of_a_new_system_is_empty(client: FlaskClient) -> None:
    assert "Nobody has changed anything yet." in client.get("/log").text


def test_changes_without_undo_are_refused(client: FlaskClient, parts: WebParts) -> None:
    id_ = parts.changes.record("ada", "retry", "a.mp4")
    assert post(client, f"/log/{id_}/undo").status_code == 400
    assert post(client, "/log/99/undo").status_code == 404


def test_the_foot_line_stops_asking_when_no_results_follow(
    client: FlaskClient, parts: WebParts
) -> None:
    id_ = parts.changes.record("ada", "is", "Ben", {"faces": 2}, {"verdict": "x"})
    answer = client.get(f"/log/{id_}/foot")
    assert answer.status_code == 286
    assert "Named 2 faces Ben." in answer.text
    assert "Set-Cookie" not in answer.headers or "hx-get" not in answer.text


def test_the_foot_line_is_not_read_out_again_and_again(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(parts.corrections), "pending", lambda _: 3)
    id_ = parts.changes.record("ada", "is", "Ben", {"faces": 2}, {"verdict": "x"})
    answer = client.get(f"/log/{id_}/foot")
    assert answer.status_code == 200
    assert "hx-get" not in answer.text  # the element that asks stays, and so does its ETag
    headers = {"If-None-Match": answer.headers["ETag"]}
    assert client.get(f"/log/{id_}/foot", headers=headers).status_code == 304
    monkeypatch.setattr(type(parts.corrections), "pending", lambda _: 0)
    last = client.get(f"/log/{id_}/foot", headers=headers)
    assert (last.status_code, last.headers["HX-Reswap"]) == (286, "none")


def test_the_last_foot_line_has_the_last_number(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = parts.changes.record("ada", "is", "Ben", {"faces": 2}, {"verdict": "x"})

    def pending(*_: object) -> int:  # the last video is corrected right now
        with parts.database.transaction() as connection:
            connection.execute(update(change).where(change.c.id == id_).values(videos=7))
        return 0

    monkeypatch.setattr(type(parts.corrections), "pending", pending)
    answer = client.get(f"/log/{id_}/foot")
    assert answer.status_code == 286
    assert "7 videos changed." in answer.text


def test_the_pages_work_with_postgresql(postgres_url: str, tmp_path: Path) -> None:
    with closing(open_tables(postgres_url)) as database:
        parts = make_parts(database, tmp_path)
        client = pages_client(parts)
        fill(parts)
        skip(parts, "notes.txt")
        text = client.get("/").text
        assert "2 videos cannot be decoded." in text
        assert "Ada, Ben, Chen +4" in text
        assert "<dd>12</dd>" in text
        assert client.get("/problems").text.count("<section") == 5
        for kind in ("dead", "message", "bad", "skipped"):
            post(client, f"/problems/{kind}/dismiss", {"code": "not_a_video"})
        assert client.get("/problems").text.count("<section") == 1
        post(client, "/log/1/undo")
        assert "2 videos cannot be decoded" in client.get("/problems").text


def test_the_pages_in_a_browser(page: Page, parts: WebParts) -> None:
    fill(parts)
    skip(parts, "notes.txt", "slides/cover.jpg")
    with serve_pages(parts) as url:
        page.goto(f"{url}/problems")
        check_page(page, "problems")
        page.get_by_role("button", name="Dismiss all: 2 videos cannot be decoded").click()
        foot = page.locator("#foot")
        expect(foot).to_contain_text("Dismissed: 2 videos cannot be decoded.")
        expect(page.get_by_role("heading", name="cannot be decoded")).to_have_count(0)
        foot.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("heading", name="2 videos cannot be decoded")).to_be_visible()
        page.get_by_role("button", name="Try again: late.mp4").click()
        expect(page.get_by_role("heading", name="did not answer")).to_have_count(0)
        parts.changes.record("maria", "is", "Ada", {"faces": 3}, {"verdict": "x"})
        parts.changes.record("maria", "rename", "Ben", {"new_name": "Ben Ode"}, {"rename": "x"})
        parts.changes.record("ode", "merge", "Benn", {"into": "Ben Ode"}, {"merge": "x"})
        page.goto(f"{url}/log")
        check_page(page, "log")
        page.goto(f"{url}/problems")
        page.keyboard.press("j")
        page.keyboard.press("j")
        assert page.locator("[data-row]:focus-within").count() == 1


def test_the_page_follows_problems_without_a_reload(page: Page, parts: WebParts) -> None:
    fail(parts, *(f"{number}.mp4" for number in range(5)))
    fail(parts, "x.mp4", code="gone")
    with serve_pages(parts) as url:
        page.goto(f"{url}/problems")
        page.get_by_text("5 videos", exact=True).click()
        page.get_by_label("Search videos and people").hover()
        page.locator("#main").focus()
        fail(parts, "y.mp4", code="gone")
        expect(page.get_by_role("heading", name="2 videos were deleted")).to_be_visible()
        expect(page.get_by_role("button", name="Dismiss: 3.mp4")).to_be_visible()
        expect(page.locator("#announcement")).to_have_text("1 new problem")
        button = page.get_by_role("button", name="Dismiss: x.mp4")
        button.focus()
        fail(parts, "6.mp4")
        fail(parts, "z.mp4", code="too_long")
        expect(page.get_by_role("button", name="2 new problems")).to_be_visible()
        expect(page.get_by_role("heading", name="6 videos cannot be decoded")).to_be_visible()
        expect(page.locator("nav .count.alert")).to_have_text("3")
        expect(button).to_be_focused()
        page.get_by_role("button", name="2 new problems").click()
        expect(page.get_by_role("heading", name="1 video is too long")).to_be_visible()
        expect(page.get_by_role("button", name="Dismiss: 3.mp4")).to_be_visible()
        for cause in ("cannot be decoded", "were deleted"):
            page.get_by_role("button", name="Dismiss all").first.click()
            expect(page.get_by_role("heading", name=cause)).to_have_count(0)


def test_the_part_is_304_until_something_changes(client: FlaskClient, parts: WebParts) -> None:
    fail(parts, "a.mp4")
    answer = client.get("/problems/part")
    headers = {"If-None-Match": answer.headers["ETag"]}
    assert client.get("/problems/part", headers=headers).status_code == 304
    post(client, "/problems/dead/dismiss", {"code": "not_a_video"})
    client.get("/problems")
    assert client.get("/problems/part", headers=headers).status_code == 200


def test_empty_pages_in_a_browser(page: Page, parts: WebParts) -> None:
    with serve_pages(parts) as url:
        for name in ("problems", "log"):
            page.goto(f"{url}/{name}")
            check_page(page, f"{name}-empty")


def test_the_log_links_to_the_videos_of_a_change(client: FlaskClient, parts: WebParts) -> None:
    parts.index.put(samples())
    ids = [parts.index.id_of(BUCKET, each.key) for each in samples()[:3]]
    keys = [each.key for each in samples()[:3]]
    parts.changes.record("local", "is", "Ada", {"faces": 4, "keys": [*keys, keys[0]]})
    parts.changes.record("eve", "ignore", "", {"faces": 1, "keys": ["gone.mp4", 7]})
    parts.changes.record("eve", "rerun", keys[2])
    text = client.get("/log").text
    links = [f'<a href="/videos/{ids[n]}">{samples()[n].key}</a>' for n in range(2)]
    assert f"({links[0]}, {links[1]} and 1 more)" in text
    assert f'queued {keys[2]} again <small class="soft">(<a href="/videos/{ids[2]}"' in text
    assert "gone.mp4" not in text
    assert "“local” stands for" in text
