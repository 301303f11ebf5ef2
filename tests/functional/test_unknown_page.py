"""The page with groups of unknown faces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from support.index_samples import appearance, indexed
from support.people_index import (
    DAY_S,
    NOW_S,
    RecordedCorrections,
    encoding,
    put_unknown,
    put_video,
    save_gallery,
)
from support.web_pages import local_path, pages_client, post, web_parts

from rollcall.core.verdicts import FaceSource, Verdict
from rollcall.core.web_protocols import Change
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_locations import read_gallery
from rollcall.web.parts import WebParts
from rollcall.web.unknown import RECENT_CHANGES


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WebParts]:
    with web_parts(tmp_path, keep_faces="pictures") as built:
        yield replace(built, corrections=RecordedCorrections(built.changes))


def text_of(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, path
    return answer.get_data(as_text=True)


def put_faces(parts: WebParts, person: int, count: int, first: int = 0) -> list[int]:
    """Put videos with one unknown face each, all of one person. Return the videos' ids."""
    ids = []
    for number in range(first, first + count):
        uploaded_s = NOW_S - number * DAY_S
        key = f"person{person}-{number}.mp4"
        ids.append(put_video(parts.database, key, [("", [(12.5, 14)])], uploaded_s))
        noise = np.random.default_rng(number).normal(0, 0.005, 128)
        put_unknown(parts.database, ids[-1], {0: encoding(person) + noise}, uploaded_s)
    return ids


def videos_of(change: Change) -> list[int]:
    """The videos of a change's faces, sorted."""
    return sorted(video_id for video_id, _ in change.details["faces"])


def shown(client: FlaskClient) -> str:
    """The faces of the first group, as its form sends them."""
    return faces_in(text_of(client, "/unknown/1"))


def faces_in(page: str) -> str:
    """The faces of the only group of a page."""
    (found,) = re.findall('name="faces" value="(.*?)"', page)
    return str(found)


def marked(client: FlaskClient, video_id: int) -> str:
    """The value that marks the face of this video as somebody else."""
    (found,) = re.findall(f'name="other" value="({video_id}-.*?)"', text_of(client, "/unknown/1"))
    return str(found)


def test_the_largest_group_comes_first_with_five_faces(
    client: FlaskClient, parts: WebParts
) -> None:
    put_faces(parts, 1, 2)
    put_faces(parts, 2, 7)
    page = text_of(client, "/unknown")
    assert re.findall(r'<h2 id="title-\d+">(.*?)</h2>', page) == ["7 faces", "2 faces"]
    assert "in 7 videos" in page
    assert len(re.findall(r'<img src="/videos/\d+/faces/0.jpg"', page)) == 5 + 2
    assert re.search(r'href="/videos/\d+\?t=12.5"', page)


def test_groups_come_in_pages(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.web.unknown.PAGE", 2)
    for person in range(3):
        put_faces(parts, person, 3 - person)
    assert '?page=2">More groups<' in text_of(client, "/unknown")
    second = text_of(client, "/unknown?page=2")
    assert re.findall(r'<h2 id="title-\d+">(.*?)</h2>', second) == ["1 face"]
    assert "There are no more groups" in text_of(client, "/unknown?page=9")


def test_a_change_on_a_later_page_leads_back_to_it(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.web.unknown.PAGE", 1)
    for person in range(3):
        put_faces(parts, person, 3 - person)
    page = text_of(client, "/unknown?page=2")
    fields = dict(re.findall(r'<input type="hidden" name="(faces|page)" value="(.*?)"', page))
    location = post(client, "/unknown/2/name", {"name": "Ada", **fields}).location
    assert location == "/unknown?page=2"
    first = post(client, "/unknown/1/name", {"name": "Ada", "faces": shown(client)}).location
    assert first == "/unknown"


def test_the_nearest_people_are_offered_with_picture_and_distance(
    client: FlaskClient, parts: WebParts
) -> None:
    put_faces(parts, 1, 2)
    known = put_video(parts.database, "ada.mp4", [("Ada", [(1, 2)])])
    save_gallery(parts, {"Ada": [encoding(5, 0.6, towards=1)], "Ben": [encoding(6)]})
    page = text_of(client, "/unknown")
    offer = page[page.index('name="to"') :]
    assert 'value="Ada"' in offer
    assert f'<img src="/videos/{known}/faces/0.jpg"' in offer
    assert re.search(r"alike \(0\.\d\d\)", offer)
    assert 'value="Ben"' not in page


def test_people_beyond_the_tolerance_are_not_offered(client: FlaskClient, parts: WebParts) -> None:
    put_faces(parts, 1, 2)
    people = {"Ada": [encoding(5, 0.55, towards=1)], "Ben": [encoding(6, 0.45, towards=1)]}
    save_gallery(parts, people)
    assert re.findall(r'name="to" value="([^"]*)"', text_of(client, "/unknown")) == ["Ada"]


def test_people_whom_a_verdict_excludes_are_not_offered(
    client: FlaskClient, parts: WebParts
) -> None:
    put_faces(parts, 1, 2)
    near = {f"Person {n}": [encoding(10 + n, 0.7, towards=1)] for n in range(5)}
    save_gallery(parts, near)
    offered = re.findall(r'name="to" value="([^"]*)"', text_of(client, "/unknown"))
    assert len(offered) == 3
    face = encoding(1)[None]
    wrong = Verdict("v1", "not", offered[0], face, (FaceSource(bucket="b", key="k", etag="e"),))
    parts.gallery.save(render_gallery(read_gallery(parts.gallery).with_verdict(wrong)))
    parts.known.changed()
    others = re.findall(r'name="to" value="([^"]*)"', text_of(client, "/unknown"))
    assert others[:2] == offered[1:]
    assert len(others) == 3


def test_unknown_people_whose_faces_were_not_stored_are_counted(
    client: FlaskClient, parts: WebParts
) -> None:
    for number in range(3):
        put_video(parts.database, f"{number}.mp4", [("", [(1, 2)])], kept="none")
    put_video(parts.database, "named.mp4", [("Ada", [(1, 2)])], kept="none")
    page = text_of(client, "/unknown")
    assert "3 videos show unknown people whose faces were not stored" in page
    assert 'href="/videos?unknown=1"' in page
    assert "Nobody is unknown" not in page
    put_faces(parts, 1, 2)
    assert "3 videos show unknown people" in text_of(client, "/unknown")


def test_a_group_opens_to_all_its_faces(client: FlaskClient, parts: WebParts) -> None:
    ids = put_faces(parts, 1, 7)
    page = text_of(client, "/unknown/1")
    assert "<title>Unknown" in page
    for video in ids:
        assert f'name="other" value="{video}-' in page
    part = client.get("/unknown/1", headers={"HX-Request": "true"}).get_data(as_text=True)
    assert "<title>" not in part
    assert part.count('name="other"') == 7
    assert "this group is gone" in text_of(client, "/unknown/99", 404)


def test_a_group_gets_a_name(client: FlaskClient, parts: WebParts) -> None:
    ids = put_faces(parts, 1, 7)
    answer = post(client, "/unknown/1/name", {"name": "  Ada   Lovelace ", "faces": shown(client)})
    assert local_path(answer.location) == "/unknown"
    (change,) = parts.changes.latest(9)
    assert (change.action, change.name) == ("is", "Ada Lovelace")
    assert videos_of(change) == ids
    page = text_of(client, "/unknown")
    assert "Named 7 faces Ada Lovelace" in page
    assert "Undo" in page


def test_groups_with_new_names_are_hidden_while_their_videos_are_corrected(
    parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.web.unknown.PAGE", 1)
    for person, count in ((1, 7), (2, 3), (3, 1)):
        put_faces(parts, person, count)
    corrections = RecordedCorrections(parts.changes, 7)
    client = pages_client(replace(parts, corrections=corrections))
    post(client, "/unknown/1/name", {"name": "Ada", "faces": shown(client)})
    page = text_of(client, "/unknown")
    assert "7 videos are being compared" in page
    assert "3 groups of faces that look alike; 1 changed just now and is not shown" in page
    assert re.findall(r'id="group-(\d+)"', page) == ["2"]
    assert '<b data-count="/unknown">3</b>' in page
    post(client, "/unknown/2/ignore", {"faces": faces_in(page)})
    page = text_of(client, "/unknown")
    assert "2 changed just now and are not shown" in page
    assert re.findall(r'id="group-(\d+)"', page) == ["3"]
    post(client, "/unknown/3/ignore", {"faces": faces_in(page)})
    page = text_of(client, "/unknown")
    assert "data-group" not in page
    assert "Nobody is unknown" not in page
    post(client, "/log/1/undo")
    assert re.findall(r'id="group-(\d+)"', text_of(client, "/unknown")) == ["1"]
    corrections.waiting = 0
    assert re.findall(r'id="group-(\d+)"', text_of(client, "/unknown")) == ["1"]
    corrections.waiting = 1  # of another change
    assert re.findall(r'id="group-(\d+)"', text_of(client, "/unknown")) == ["1"]


def test_a_person_of_a_change_that_videos_still_follow_has_no_key(parts: WebParts) -> None:
    put_faces(parts, 1, 2)
    save_gallery(parts, {"Ada": [encoding(5, 0.6, towards=1)]})
    waiting = pages_client(replace(parts, corrections=RecordedCorrections(parts.changes, 7)))
    assert "data-add" in text_of(waiting, "/unknown")
    parts.changes.record("edith", "is", "Ada", {"faces": 1})
    parts.changes.record("edith", "merge", "Ben", {})  # somebody else was forgotten
    for _ in range(RECENT_CHANGES):  # with AUDIT_VIEWS
        parts.changes.record("vera", "view", "Ben")
    for path in ("/unknown", "/unknown/1"):
        page = text_of(waiting, path)
        assert 'value="Ada"' in page
        assert "data-add" not in page
        assert page.count("<kbd>a</kbd>") == ("<dt><kbd>a</kbd>" in page), "only in the help"
        assert "data-add" in text_of(pages_client(parts), path)


def test_faces_of_somebody_else_do_not_get_the_name(client: FlaskClient, parts: WebParts) -> None:
    ids = put_faces(parts, 1, 3)
    save_gallery(parts, {"Ada": [encoding(9)]})
    form = {"faces": shown(client), "other": marked(client, ids[1])}
    post(client, "/unknown/1/name", {**form, "name": "", "to": "Ada"})
    other, named = parts.changes.latest(9)
    assert (other.action, other.name, videos_of(other)) == ("not", "Ada", [ids[1]])
    assert named.action == "is"
    assert videos_of(named) == [ids[0], ids[2]]


def test_a_group_is_ignored(client: FlaskClient, parts: WebParts) -> None:
    ids = put_faces(parts, 1, 3)
    form = {"faces": shown(client), "other": marked(client, ids[0])}
    post(client, "/unknown/1/ignore", {**form, "name": ""})
    (change,) = parts.changes.latest(9)
    assert change.action == "ignore"
    assert videos_of(change) == ids[1:]


def test_two_groups_are_joined(client: FlaskClient, parts: WebParts) -> None:
    ids = put_faces(parts, 1, 2) + put_faces(parts, 2, 2)
    groups = re.findall('name="group" value="(.*?)"', text_of(client, "/unknown"))
    post(client, "/unknown/same", {"group": groups})
    (change,) = parts.changes.latest(9)
    assert change.action == "same"
    assert videos_of(change) == sorted(ids)


def test_faces_of_a_video_that_was_written_again_are_still_named(
    client: FlaskClient, parts: WebParts
) -> None:
    """The videos of other groups are corrected while somebody types the next name."""
    ids = put_faces(parts, 1, 2)
    form = {"name": "Ada", "faces": shown(client), "other": marked(client, ids[0])}
    put_faces(parts, 1, 2)
    post(client, "/unknown/1/name", form)
    other, named = parts.changes.latest(9)
    assert (videos_of(other), videos_of(named)) == ([ids[0]], [ids[1]])


def test_faces_that_joined_the_group_since_are_not_named(
    client: FlaskClient, parts: WebParts
) -> None:
    ids = put_faces(parts, 1, 2)
    form = {"name": "Ada", "faces": shown(client)}
    put_faces(parts, 1, 1, first=2)
    post(client, "/unknown/1/name", form)
    (change,) = parts.changes.latest(9)
    assert videos_of(change) == ids


@pytest.mark.parametrize("path", ["/unknown/1/name", "/unknown/1/ignore", "/unknown/same"])
def test_nothing_changes_if_all_faces_have_changed_since(
    client: FlaskClient, parts: WebParts, path: str
) -> None:
    put_faces(parts, 1, 2)
    faces = shown(client)
    put_faces(parts, 1, 1, first=2)  # the group has another face by now
    for video_id in range(1, 3):  # somebody has named those that were shown
        put_unknown(parts.database, video_id, {})
    groups = [f"{number}/{face}" for number, face in enumerate(faces.split())]
    post(client, path, {"name": "Ada", "faces": faces, "group": groups})
    assert parts.changes.latest(9) == []
    page = text_of(client, "/unknown")
    assert "the faces have changed since" in page
    assert ('value="Ada" autofocus' in page) == path.endswith("name"), "the name is not lost"


def test_a_refused_name_is_explained_in_its_form(client: FlaskClient, parts: WebParts) -> None:
    put_faces(parts, 1, 1)
    save_gallery(parts, {"Ada Lovelace": [encoding(9)]})
    faces = shown(client)
    for typed, reason in (("unknown", "stands for everyone else"), ("AdaLovelace", "looks like")):
        answer = post(client, "/unknown/1/name", {"name": typed, "faces": faces})
        assert answer.status_code == 303
        page = text_of(client, local_path(answer.location))
        assert f'value="{typed}" autofocus' in page
        assert page.count('role="alert"') == 1
        assert reason in page[page.index('role="alert"') :]
        assert "autofocus" not in text_of(client, "/unknown")
    assert 'name="to" value="Ada Lovelace" formnovalidate>This is Ada Lovelace<' in page
    assert parts.changes.latest(9) == []
    post(client, "/unknown/1/name", {"name": "ada LOVELACE", "faces": faces})
    assert parts.changes.latest(9)[0].name == "Ada Lovelace"


def test_a_name_close_to_a_known_one_is_asked_about(client: FlaskClient, parts: WebParts) -> None:
    put_faces(parts, 1, 1)
    save_gallery(parts, {"Ada Lovelace": [encoding(9)]})
    faces = shown(client)
    answer = post(client, "/unknown/1/name", {"name": "ada lovelase", "faces": faces})
    page = text_of(client, local_path(answer.location))
    assert 'value="ada lovelase" autofocus aria-describedby="refusal">' in page
    question = "“ada lovelase” is not in the gallery yet. Do you mean “Ada Lovelace”?"
    assert f'id="refusal" role="alert">{question}</small>' in page
    assert 'name="to" value="Ada Lovelace" formnovalidate>This is Ada Lovelace<' in page
    assert 'name="new" value="ada lovelase" formnovalidate>Add “ada lovelase” as a new' in page
    assert parts.changes.latest(9) == []
    # The answer is about this text only: another one that is typed since is asked about again.
    post(client, "/unknown/1/name", {"name": "Ada Lovelaze", "faces": faces})
    assert parts.changes.latest(9) == []
    values = {"name": "Ada Lovelaze", "new": "ada lovelase", "faces": faces}
    post(client, "/unknown/1/name", values)
    assert parts.changes.latest(9)[0].name == "ada lovelase"
    post(client, "/unknown/1/name", {"name": "Ada Byron", "faces": faces})
    assert parts.changes.latest(9)[0].name == "Ada Byron"


def test_the_answer_to_a_question_still_has_to_be_a_name(
    client: FlaskClient, parts: WebParts
) -> None:
    put_faces(parts, 1, 1)
    save_gallery(parts, {"Ada Lovelace": [encoding(9)]})
    faces = shown(client)
    for name in ("unknown", "AdaLovelace", "x" * 2000):
        post(client, "/unknown/1/name", {"name": "", "new": name, "faces": faces})
    assert parts.changes.latest(9) == []


def test_marked_faces_stay_marked_after_a_refused_name(
    client: FlaskClient, parts: WebParts
) -> None:
    put_faces(parts, 1, 2)
    faces = shown(client)
    values = {"name": "unknown", "faces": faces, "other": faces.split()[0]}
    answer = post(client, "/unknown/1/name", values)
    page = text_of(client, local_path(answer.location))
    assert re.findall('name="other" value="(.*?)"[^>]* checked', page) == [faces.split()[0]]


def test_marked_faces_stay_marked_if_one_of_them_has_a_name_by_now(
    client: FlaskClient, parts: WebParts
) -> None:
    """The text stays, too, so the form may be sent again at once."""
    ids = put_faces(parts, 1, 4)
    marks = [marked(client, ids[0]), marked(client, ids[1])]
    form = {"name": "Ada", "faces": shown(client), "other": marks}
    put_unknown(parts.database, ids[0], {})
    page = text_of(client, local_path(post(client, "/unknown/1/name", form).location))
    assert parts.changes.latest(9) == []
    assert "the faces have changed since" in page
    assert 'value="Ada" autofocus' in page
    assert re.findall('name="other" value="(.*?)"[^>]* checked', page) == [marks[1]]


def test_a_group_that_is_gone_leads_back_to_the_others(
    client: FlaskClient, parts: WebParts
) -> None:
    (video_id,) = put_faces(parts, 1, 1)
    faces = shown(client)
    put_unknown(parts.database, video_id, {})
    for name in ("Ada", "unknown"):
        answer = post(
            client, "/unknown/1/name", {"name": name, "faces": faces, "other": "9-" + "0" * 16}
        )
        assert local_path(answer.location) == "/unknown"


def test_a_button_of_somebody_who_was_removed_since_makes_no_new_person(
    client: FlaskClient, parts: WebParts
) -> None:
    put_faces(parts, 1, 1)
    save_gallery(parts, {"Ben": [encoding(9)]})
    form = {"name": "", "to": "Ada", "faces": shown(client)}
    answer = post(client, "/unknown/1/name", form)
    assert answer.status_code == 422
    assert "&#39;Ada&#39; is not in the gallery any more" in answer.get_data(as_text=True)
    assert parts.changes.latest(9) == []


SOME_FACE = "1-0123456789abcdef"
FACE, HUGE = {"faces": SOME_FACE}, "9" * 30 + "-0123456789abcdef"


@pytest.mark.parametrize(
    ("path", "values", "status", "reason"),
    [
        ("/unknown/1/name", {"name": " "}, 400, "empty"),
        ("/unknown/1/name", {**FACE, "name": "Ben", "other": SOME_FACE}, 400, "leave at least one"),
        ("/unknown/1/name", {**FACE, "name": "Ben", "other": "1"}, 400, "load the page again"),
        (
            "/unknown/1/name",
            {"name": "Ben", "faces": HUGE},
            400,
            "load the page again",
        ),
        ("/unknown/1/name", {"name": "Ben"}, 400, "names no face"),
        (
            "/unknown/1/name",
            {**FACE, "name": "Ben", "other": f"{SOME_FACE} " * 51},
            400,
            "at most 50",
        ),
        ("/unknown/same", {"group": f"1/{SOME_FACE}"}, 400, "select two"),
        ("/unknown/same", {"group": "x"}, 400, "load the page again"),
    ],
)
def test_what_cannot_be_done_is_explained(
    client: FlaskClient,
    parts: WebParts,
    path: str,
    values: dict[str, str],
    status: int,
    reason: str,
) -> None:
    put_faces(parts, 1, 1)
    save_gallery(parts, {"Ada": [encoding(9)]})
    answer = post(client, path, values)
    assert answer.status_code == status
    assert reason in answer.get_data(as_text=True)
    assert parts.changes.latest(9) == []


def test_without_stored_faces_the_page_says_what_is_missing(tmp_path: Path) -> None:
    with web_parts(tmp_path) as parts:
        parts = replace(parts, corrections=RecordedCorrections(parts.changes))
        page = text_of(pages_client(parts), "/unknown")
    assert "Faces are not stored" in page
    assert "KEEP_FACES=pictures" in page
    assert "If you use <code>rollcall up</code>, upload your videos again" in page


def test_unknown_people_of_files_cannot_be_named(tmp_path: Path) -> None:
    with web_parts(tmp_path) as parts:
        parts.index.put([indexed("/srv/a.mp4", appearance(0, ""), bucket="")])
        client = pages_client(parts)
        page = text_of(client, "/unknown")
        assert "1 video file of <code>rollcall recognise --index</code> shows unknown" in page
        assert "KEEP_FACES" not in page
        assert "Nobody is unknown" not in page
        parts.index.put([indexed("a.mp4", appearance(0, ""))])
        assert "KEEP_FACES=pictures" in text_of(client, "/unknown")


def test_an_empty_page_explains_itself(client: FlaskClient) -> None:
    assert "Nobody is unknown" in text_of(client, "/unknown")


def test_keys_are_escaped(client: FlaskClient, parts: WebParts) -> None:
    video = put_video(parts.database, '"><script>x.mp4', [("", [(1, 2)])])
    put_unknown(parts.database, video, {0: encoding(1)})
    for path in ("/unknown", "/unknown/1"):
        assert "<script>x" not in text_of(client, path)
