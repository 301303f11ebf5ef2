"""Find a person by a photo, and add people with photos."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from support.people_index import RecordedCorrections, painted_photo, put_video, save_gallery
from support.web_pages import csrf_token, pages_client, web_parts

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import StoreUnavailable
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.web.parts import WebParts

HTMX = {"HX-Request": "true"}


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WebParts]:
    with web_parts(tmp_path) as built:
        yield replace(built, corrections=RecordedCorrections(built.changes))


def send(
    client: FlaskClient, path: str, field: str, *files: tuple[str, bytes], **values: Any
) -> tuple[int, str]:
    """Send a form with files, as a script of the page does. Return status and text."""
    form = {"csrf_token": csrf_token(client), **values}
    form[field] = [(io.BytesIO(data), name) for name, data in files]
    answer = client.post(path, data=form, headers=HTMX)
    return answer.status_code, answer.get_data(as_text=True)


def put_faces(parts: WebParts) -> tuple[int, int]:
    """Two videos with stored faces: one of the red person, one of the blue person."""
    ids = []
    for name, colour in (("Ada", "red"), ("", "blue")):
        video = put_video(parts.database, f"{colour}.mp4", [(name, [(12.3, 75), (90, 91)])])
        parts.faces.put(video, DLIB.name, [0], PaintedFaces.encoding(colour)[None])
        ids.append(video)
    return ids[0], ids[1]


def test_a_photo_finds_the_person_in_all_videos(client: FlaskClient, parts: WebParts) -> None:
    red, _ = put_faces(parts)
    save_gallery(parts, {"Ada": [PaintedFaces.encoding("red")]})
    status, page = send(client, "/find", "photo", ("me.png", painted_photo("red")))
    assert status == 200
    assert "1 appearance" in page
    assert f'href="/videos/{red}?t=12.3">0:12–1:15</a>' in page
    assert "clear" in page
    assert "red.mp4" in page
    assert "blue.mp4" not in page
    assert "<title>" not in page
    assert page.index("In the gallery") < page.index("Ada")


def test_of_several_faces_one_is_chosen(client: FlaskClient, parts: WebParts) -> None:
    put_faces(parts)
    photo = ("both.png", painted_photo("red", "blue"))
    _, first = send(client, "/find", "photo", photo)
    _, second = send(client, "/find", "photo", photo, face="1")
    assert "The photo shows 2 faces" in first
    assert len(re.findall("data:image/jpeg;base64,", first)) == 2
    assert {"red.mp4" in first, "red.mp4" in second} == {True, False}
    assert {"blue.mp4" in first, "blue.mp4" in second} == {True, False}


def test_without_script_the_whole_page_is_sent(client: FlaskClient, parts: WebParts) -> None:
    put_faces(parts)
    form = {
        "csrf_token": csrf_token(client),
        "photo": (io.BytesIO(painted_photo("red")), "me.png"),
    }
    page = client.post("/find", data=form).get_data(as_text=True)
    assert "<title>Find by photo" in page
    assert "red.mp4" in page


def test_nobody_is_found(client: FlaskClient, parts: WebParts) -> None:
    put_faces(parts)
    _, page = send(client, "/find", "photo", ("me.png", painted_photo("green")))
    assert "Nobody like this was seen in a video" in page


@pytest.mark.parametrize(
    ("name", "data", "status", "reason"),
    [
        ("me.png", painted_photo(), 200, "me.png shows no face"),
        ("me.txt", b"hello", 422, "is not a picture"),
        ("me.png", painted_photo("red")[:200], 422, "damaged"),
        ("", b"", 400, "choose a photo first"),
        ("me.png", b"x" * 2000, 413, "has more than"),
        ("me.png", b"x" * 70_000, 413, "than these pages accept"),
    ],
)
def test_a_photo_that_cannot_be_used_is_explained(
    client: FlaskClient,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    data: bytes,
    status: int,
    reason: str,
) -> None:
    monkeypatch.setattr("rollcall.web.find_photo.MAX_BYTES", 1500)
    answered, page = send(client, "/find", "photo", (name, data))
    assert answered == status
    assert reason in page


def test_the_page_says_if_no_faces_are_stored(client: FlaskClient, parts: WebParts) -> None:
    assert "KEEP_FACES=pictures" in client.get("/find").get_data(as_text=True)
    put_faces(parts)
    assert "KEEP_FACES" not in client.get("/find").get_data(as_text=True)


def results_in(page: str) -> dict[str, str]:
    return dict(re.findall(r'data-photo="(.*?)" class="photo-(\w+)"', page))


def test_photos_are_added_with_a_reason_for_each_that_is_not(
    client: FlaskClient, parts: WebParts
) -> None:
    save_gallery(parts, {"Ben": [PaintedFaces.encoding("blue")]})
    status, page = send(
        client,
        "/enrol",
        "photos",
        ("good.png", painted_photo("red")),
        ("again.png", painted_photo("red")),
        ("two.png", painted_photo("red", "green")),
        ("none.png", painted_photo()),
        ("text.txt", b"hello"),
        name=" Ada ",
    )
    assert status == 200
    assert results_in(page) == {
        "good.png": "added",
        "again.png": "known",
        "two.png": "refused",
        "none.png": "refused",
        "text.txt": "refused",
    }
    assert "2 faces were found" in page
    assert "<title>" not in page
    gallery = parts.known.current().gallery
    assert gallery.people == ("Ada", "Ben")
    (change,) = parts.changes.latest(9)
    assert (change.action, change.name, change.can_undo) == ("enrol", "Ada", True)
    assert "Enrolled Ada" in page


def test_a_known_name_is_taken_and_one_that_only_looks_like_it_is_refused(
    client: FlaskClient, parts: WebParts
) -> None:
    save_gallery(parts, {"Ada <i>": [PaintedFaces.encoding("red")]})
    photo = ("1.png", painted_photo("red"))
    _, page = send(client, "/enrol", "photos", photo, name="ada <I>")
    assert results_in(page) == {"1.png": "known"}
    status, page = send(client, "/enrol", "photos", photo, name="Ada<i>")
    assert status == 422
    assert "<p data-refused>“Ada&lt;i&gt;” looks like" in page
    assert 'name="to" value="Ada &lt;i&gt;">This is Ada &lt;i&gt;</button>' in page
    values = {"name": "Ada<i>", "photos": (io.BytesIO(photo[1]), photo[0])}
    answer = client.post("/enrol", data={"csrf_token": csrf_token(client), **values})
    assert answer.status_code == 422
    assert 'value="Ada&lt;i&gt;"' in answer.get_data(as_text=True)
    assert "who is in the gallery already" in answer.get_data(as_text=True)


def test_a_name_close_to_a_known_one_is_asked_about(client: FlaskClient, parts: WebParts) -> None:
    save_gallery(parts, {"Vin Diesel": [PaintedFaces.encoding("red")]})
    photo = ("1.png", painted_photo("blue"))
    status, page = send(client, "/enrol", "photos", photo, name="Vin Diesl")
    assert status == 422
    assert "<p data-refused data-question>“Vin Diesl” is not in the gallery yet." in page
    assert 'name="to" value="Vin Diesel">This is Vin Diesel</button>' in page
    assert 'name="new" value="Vin Diesl">Add “Vin Diesl” as a new person</button>' in page
    values = {"name": "Vin Diesl", "photos": (io.BytesIO(photo[1]), photo[0])}
    answer = client.post("/enrol", data={"csrf_token": csrf_token(client), **values})
    assert (answer.status_code, "as a new person<" in answer.get_data(as_text=True)) == (422, True)
    _, page = send(client, "/enrol", "photos", photo, name="Vin Diesl", new="Vin Diesl")
    assert results_in(page) == {"1.png": "added"}
    assert "similar to" not in page
    assert parts.known.current().names == {"Vin Diesel", "Vin Diesl"}
    _, page = send(client, "/enrol", "photos", photo, name="Vin Diesl", to="Vin Diesel")
    assert results_in(page) == {"1.png": "refused"}  # the same face under another name


def test_a_button_of_somebody_who_was_removed_since_makes_no_new_person(
    client: FlaskClient, parts: WebParts
) -> None:
    save_gallery(parts, {"Ben": [PaintedFaces.encoding("red")]})
    photo = ("1.png", painted_photo("blue"))
    status, page = send(client, "/enrol", "photos", photo, name="Vin Diesl", to="Vin Diesel")
    assert status == 422
    assert "&#39;Vin Diesel&#39; is not in the gallery any more" in page
    assert parts.known.current().names == {"Ben"}


def test_a_folder_whose_name_is_close_to_a_known_one_is_added_with_a_hint(
    client: FlaskClient, parts: WebParts
) -> None:
    save_gallery(parts, {"Vin Diesel": [PaintedFaces.encoding("red")]})
    photos = [("1.png", painted_photo("blue")), ("2.png", painted_photo())]
    _, page = send(client, "/enrol", "photos", *photos, name="Vin Diesl", folder="yes")
    assert results_in(page) == {"1.png": "added", "2.png": "refused"}
    assert page.count("The name is new, and similar to Vin Diesel.") == 1
    _, page = send(client, "/enrol", "photos", *photos, name="Vin Diesl", folder="yes")
    assert "similar to" not in page


def test_the_last_line_names_everybody_who_was_added(client: FlaskClient, parts: WebParts) -> None:
    sent = [("Ada", "red"), ("Ben", "blue"), ("Chen", "green")]
    for name, colour in sent:
        send(client, "/enrol", "photos", ("1.png", painted_photo(colour)), name=name)
    ids = [each.id for each in reversed(parts.changes.latest(9))]
    sign_in = parts.changes.record("vera", "sign_in")
    for _ in range(9):  # with AUDIT_VIEWS
        parts.changes.record("vera", "view", "Dora")
    form = {"csrf_token": csrf_token(client), "change": ids[:2]}
    answer = client.post("/enrol/finish", data=form, headers=HTMX).get_data(as_text=True)
    assert "Enrolled Ada (1 photo), Ben (1 photo). Each can be undone in the log." in answer
    for others in (ids[:1], [sign_in, sign_in + 1]):
        assert client.post("/enrol/finish", data={**form, "change": others}).status_code == 204


def test_the_log_knows_which_photos_to_remove_again(client: FlaskClient, parts: WebParts) -> None:
    send(client, "/enrol", "photos", ("1.png", painted_photo("red")), name="Ada")
    (change,) = parts.changes.latest(9)
    undo = parts.changes.undo_of(change.id)  # type: ignore[attr-defined]
    examples = parts.known.current().gallery.examples_of("Ada")
    assert undo == {"examples": [example.id for example in examples]}
    assert [(each.source.photo, each.added_by) for each in examples] == [("1.png", "local")]


def test_nothing_is_logged_if_nothing_was_added(client: FlaskClient, parts: WebParts) -> None:
    _, page = send(client, "/enrol", "photos", ("none.png", painted_photo()), name="Ada")
    assert results_in(page) == {"none.png": "refused"}
    assert parts.changes.latest(9) == []


def test_two_photos_may_have_one_name(client: FlaskClient) -> None:
    files = [("1.png", painted_photo("red")), ("1.png", painted_photo())]
    _, page = send(client, "/enrol", "photos", *files, name="Ada")
    assert results_in(page) == {"1.png": "added", "1.png (2)": "refused"}


@pytest.mark.parametrize(
    ("name", "count", "status", "reason"),
    [
        ("", 1, 400, "the field"),
        ("unknown", 1, 422, "stands for everyone else"),
        ("Ada", 0, 400, "choose a photo first"),
        ("Ada", 51, 413, "at most 50 photos"),
    ],
)
def test_what_cannot_be_added_is_explained(
    client: FlaskClient, parts: WebParts, name: str, count: int, status: int, reason: str
) -> None:
    files = [(f"{number}.png", painted_photo("red")) for number in range(count)]
    answered, page = send(client, "/enrol", "photos", *files, name=name)
    assert answered == status
    assert reason in page
    assert parts.changes.latest(9) == []


def test_without_script_photos_are_added_with_the_whole_page(
    client: FlaskClient, parts: WebParts
) -> None:
    form = {
        "csrf_token": csrf_token(client),
        "name": "Ada",
        "photos": (io.BytesIO(painted_photo("red")), "<i>.png"),
    }
    page = client.post("/enrol", data=form).get_data(as_text=True)
    assert "<title>Add people" in page
    assert "✓ added" in page
    assert "<i>.png" not in page
    assert parts.known.current().gallery.people == ("Ada",)


def test_pictures_of_enrolled_faces_are_shown_where_they_are_kept(tmp_path: Path) -> None:
    with web_parts(tmp_path, keep_faces="pictures") as parts:
        parts = replace(parts, corrections=RecordedCorrections(parts.changes))
        client = pages_client(parts)
        send(client, "/enrol", "photos", ("1.png", painted_photo("red")), name="Ada")
        for path in ("/people", "/people/by-name/Ada"):
            page = client.get(path).get_data(as_text=True)
            (shown,) = set(re.findall(r'src="(/people/photos/.*?)"', page))
            picture = client.get(shown)
            assert picture.data.startswith(b"\xff\xd8")
            again = client.get(shown, headers={"If-None-Match": picture.headers["ETag"]})
            assert again.status_code == 304
        assert "1.png" in page
        assert "good" in page
        for path in ("0" * 16, "..%2Fgallery"):
            assert client.get(f"/people/photos/{path}.jpg").status_code == 404


def test_no_pictures_are_kept_unless_somebody_asks(client: FlaskClient, tmp_path: Path) -> None:
    send(client, "/enrol", "photos", ("1.png", painted_photo("red")), name="Ada")
    assert "/people/photos/" not in client.get("/people/by-name/Ada").get_data(as_text=True)
    assert not list(tmp_path.rglob("*.jpg"))


def test_only_pictures_that_exist_are_linked(tmp_path: Path) -> None:
    with web_parts(tmp_path, keep_faces="none") as parts:
        parts = replace(parts, corrections=RecordedCorrections(parts.changes))
        send(pages_client(parts), "/enrol", "photos", ("1.png", painted_photo("red")), name="Ada")
    with web_parts(tmp_path, keep_faces="pictures") as parts:
        client = pages_client(replace(parts, corrections=RecordedCorrections(parts.changes)))
        for path in ("/people", "/people/by-name/Ada"):
            assert "/people/photos/" not in client.get(path).get_data(as_text=True)
        person = client.get("/people/by-name/Ada").get_data(as_text=True)
        assert "no picture was kept (KEEP_FACES)" in person
        send(client, "/enrol", "photos", ("2.png", painted_photo("blue")), name="Ben")
        assert "/people/photos/" in client.get("/people").get_data(as_text=True)
        person = client.get("/people/by-name/Ben").get_data(as_text=True)
        assert "no picture was kept" not in person


def test_pictures_that_cannot_be_listed_are_asked_for_once_for_each_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[object]()

    def fail(location: object) -> set[str]:
        asked.append(location)
        raise StoreUnavailable("the store does not answer")

    monkeypatch.setattr("rollcall.web.enrolled_faces.stored_pictures", fail)
    with web_parts(tmp_path, keep_faces="pictures") as parts:
        client = pages_client(parts)
        colours = ("red", "green", "blue")
        save_gallery(parts, {colour: [PaintedFaces.encoding(colour)] for colour in colours})
        for path in ("/people", "/people/by-name/red"):
            assert client.get(path).status_code == 200
            assert len(asked) == 1
            asked.clear()
