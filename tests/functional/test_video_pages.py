"""The list of videos, and the page of one video, by Flask's client."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from support.databases import open_file
from support.filmed import Filmed, between, direction
from support.index_samples import BUCKET, DAY_S, T0, appearance, indexed, samples
from support.lecture import KEY, LATER_S, picture, put_lecture
from support.settings import embedded_settings
from support.web_pages import csrf_token, local_path, make_parts, pages_client, post, web_parts

from rollcall.core.index_types import IndexedVideo
from rollcall.core.keys import faces_key, report_key
from rollcall.core.types import VideoRef
from rollcall.corrections.corrector import Corrector
from rollcall.index.video_queries import VideoQueries
from rollcall.recognition.stored_faces import MAX_FACES_BYTES, parse_faces, render_faces
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.web import video_page, videos
from rollcall.web.parts import WebParts
from rollcall.web.users import User


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WebParts]:
    with web_parts(tmp_path, report_bucket="rollcall-reports") as built:
        yield built


@pytest.fixture
def lecture_id(parts: WebParts) -> int:
    return put(parts, put_lecture(parts.store, parts.settings, b"0123456789"))


def put(parts: WebParts, video: IndexedVideo) -> int:
    parts.index.put([video])
    found = parts.index.id_of(video.bucket, video.key)
    assert found is not None
    return found


def text_of(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def titles(page: str) -> list[str]:
    return re.findall(r'<a class="quiet cover" href="/videos/[0-9]+">([^<]*)</a>', page)


# --- the list


def test_the_list_shows_who_was_there(client: FlaskClient, parts: WebParts) -> None:
    parts.index.put(samples())
    page = text_of(client, "/videos")
    assert titles(page) == ["broken.mp4", "5.mp4", "4.mp4", "ä+b %41.mp4", "2.mp4", "1.mp4"]
    for shown in ("Ada Lovelace, Ben Bitdiddle, 1 unknown", "failed: not a video", "no faces"):
        assert shown in page
    assert 'class="chip">corrected' in page


def test_the_person_of_a_search_is_named_first(client: FlaskClient, parts: WebParts) -> None:
    people = [appearance(number, f"Person {number}") for number in range(1, 6)]
    parts.index.put([indexed("a.mp4", *people)])
    for query in ("q=PERSON+4", "person=Person+4"):
        page = text_of(client, f"/videos?{query}")
        assert "Person 4, Person 1, Person 2 +2" in page
    assert "Person 1, Person 2, Person 3 +2" in text_of(client, "/videos?q=a.mp4")


def test_more_than_three_names_are_counted(client: FlaskClient, parts: WebParts) -> None:
    people = [appearance(number, f"Person {number}") for number in range(1, 6)]
    parts.index.put([indexed("a.mp4", appearance(0, ""), *people, appearance(6, ""))])
    assert "Person 1, Person 2, Person 3 +2, 2 unknown" in text_of(client, "/videos")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=lectures", ["2.mp4", "1.mp4"]),
        ("q=bitdiddle", ["ä+b %41.mp4", "1.mp4"]),
        ("person=Ben+Bitdiddle&unknown=1", ["1.mp4"]),
        ("person=ada+lovelace&q=door", ["ä+b %41.mp4"]),
        ("person=Nobody", []),
        ("status=error", ["broken.mp4"]),
        ("from=2026-11-24&to=2026-11-25", ["5.mp4", "4.mp4"]),
        ("unknown=1", ["4.mp4", "1.mp4"]),
    ],
)
def test_filters(client: FlaskClient, parts: WebParts, query: str, expected: list[str]) -> None:
    parts.index.put(samples())
    assert titles(text_of(client, f"/videos?{query}")) == expected


@pytest.mark.parametrize(
    "query",
    ["from=yesterday", "to=0000-00-00", "to=9999-12-31", "status=fine", "before=1", "before=x,1"],
)
def test_a_damaged_filter_is_refused_with_a_sentence(client: FlaskClient, query: str) -> None:
    assert "<h1>This cannot be done</h1>" in text_of(client, f"/videos?{query}", 400)


def test_a_long_text_is_refused(client: FlaskClient) -> None:
    assert "longer than 200 characters" in text_of(client, f"/videos?q={'x' * 201}", 400)


def test_pages_lead_to_all_videos(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(videos, "PAGE_ROWS", 4)
    parts.index.put([indexed(f"{n}.mp4", uploaded_s=T0 + n / 3) for n in range(10)])
    path, found = "/videos?q=mp4", list[str]()
    while path:
        page = text_of(client, path)
        found += titles(page)
        older = re.search(r'rel="next" href="([^"]*)"', page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert found == [f"{n}.mp4" for n in reversed(range(10))]


def test_new_videos_are_announced_and_shown_on_a_click(
    client: FlaskClient, parts: WebParts
) -> None:
    parts.index.put([indexed("old.mp4")])
    page = text_of(client, "/videos?q=mp4")
    poll = re.search(r'hx-get="(/videos/new[^"]*)"', page)
    assert poll
    path = poll[1].replace("&amp;", "&")
    assert client.get(path).status_code == 204
    parts.index.put([indexed("new.mp4"), indexed("newer.mp4"), indexed("other.mov")])
    news = text_of(client, path)
    assert ">2 new videos</a>" in news
    assert 'href="/videos?q=mp4"' in news
    headers = {"If-None-Match": client.get(path).headers["ETag"]}
    assert client.get(path, headers=headers).status_code == 304
    assert client.get("/videos/new?after=x").status_code == 400


def test_an_empty_list_says_how_to_upload(client: FlaskClient, parts: WebParts) -> None:
    assert "aws s3 cp VIDEO.mp4 s3://input-bucket-video/" in text_of(client, "/videos")
    assert "No video fits these filters" in text_of(client, "/videos?q=x")


def test_hostile_keys_and_names_are_escaped(client: FlaskClient, parts: WebParts) -> None:
    bad = '<script>alert("x")</script>\u202e'
    video_id = put(parts, indexed(f"a/{bad}.mp4", appearance(0, bad)))
    for path in ("/videos", f"/videos/{video_id}", "/videos?q=" + bad):
        page = text_of(client, path)
        assert "<script>alert" not in page
        assert "\u202e" not in page


# --- one video


def test_the_page_shows_people_times_and_coverage(client: FlaskClient, lecture_id: int) -> None:
    page = text_of(client, f"/videos/{lecture_id}")
    assert "<h1>lecture 12.mp4</h1>" in page
    for label in (
        "Ada Lovelace, 0:00 to 20:10, clear",
        "Ben Bitdiddle, 16:50 to 22:10, likely",
        "unknown 2, 25:00 to 25:01",
        "Fatima, 43:20 to 51:59, clear",
    ):
        assert f'aria-label="{label}"' in page
    assert "14 faces smaller than 32 px were not judged" in page
    assert "at 313 moments, at most 10 s apart" in page
    lanes = re.findall(r'data-lane="([0-9]+)"', page)
    assert lanes == ["0", "1", "2", "3", "4", "7", "5", "6"]


def test_the_player_may_load_only_from_the_store(client: FlaskClient, lecture_id: int) -> None:
    answer = client.get(f"/videos/{lecture_id}")
    policy = answer.headers["Content-Security-Policy"]
    assert "media-src 'self' http://memory.invalid;" in policy
    assert "style=" not in answer.get_data(as_text=True)
    assert "media-src 'self';" in client.get("/videos").headers["Content-Security-Policy"]


def test_the_url_of_the_player_is_signed_for_the_address_of_browsers(
    tmp_path: Path,
) -> None:
    settings = embedded_settings("http://127.0.0.1:9", WEB_STORE_URL="https://store.example")
    with web_parts(tmp_path) as built:
        public = s3_client(replace(settings, s3_endpoint_url=settings.web_store_url))
        store = S3Store(s3_client(settings), public)
        video_id = put(built, indexed("a b.mp4"))
        page = pages_client(replace(built, store=store)).get(f"/videos/{video_id}")
    sources = re.findall(r'src="(https://[^"]*)"', page.get_data(as_text=True))
    assert [urlsplit(source).netloc for source in sources] == ["store.example"]
    policy = page.headers["Content-Security-Policy"]
    assert "media-src 'self' https://store.example;" in policy


@pytest.mark.parametrize("key", ["a.avi", "a.MKV", "a.ts", "a.wmv"])
def test_a_format_that_browsers_do_not_play_can_be_downloaded(
    client: FlaskClient, parts: WebParts, key: str
) -> None:
    page = text_of(client, f"/videos/{put(parts, indexed(key))}")
    assert "Browsers cannot play this format" in page
    assert "<video" not in page
    assert f'href="http://memory.invalid/{BUCKET}/{key}?' in page


def test_a_video_of_another_bucket_is_not_signed(client: FlaskClient, parts: WebParts) -> None:
    page = text_of(client, f"/videos/{put(parts, indexed('a.mp4', bucket='secrets'))}")
    assert "memory.invalid" not in page
    assert "is not INPUT_BUCKET" in page


def test_a_file_offers_only_what_works_without_the_store(
    client: FlaskClient, parts: WebParts
) -> None:
    seen = (appearance(0, "Ada"), appearance(1, ""))
    film = indexed("/srv/videos/a.mp4", *seen, bucket="", finished_s=T0 + 60)
    path = f"/videos/{put(parts, film)}"
    page = text_of(client, path)
    assert "the file /srv/videos/a.mp4, and is not in the store" in page
    assert "The names cannot be corrected here" in page
    for wrong in ("INPUT_BUCKET", "result.csv", "report.json", "Recognise again", "KEEP_FACES"):
        assert wrong not in page
    assert "after the upload" not in page
    assert "Uploaded<" not in page
    assert "Ada" in text_of(client, f"{path}/people.vtt")
    for download in ("result.csv", "report.json"):
        assert "This video is a file" in text_of(client, f"{path}/{download}", 404)
    assert "for files, of the last change" in text_of(client, "/videos")
    answer = post(client, f"{path}/rerun")
    assert (answer.status_code, "rollcall recognise --index" in answer.text) == (400, True)


def test_a_missing_video_is_404(client: FlaskClient) -> None:
    for path in ("", "/facts", "/boxes.json", "/faces/0.jpg", "/result.csv", "/people.vtt"):
        for video_id in (7, 1 << 70):
            assert client.get(f"/videos/{video_id}{path}").status_code == 404


def test_a_failed_video_says_why_and_what_helps(client: FlaskClient, parts: WebParts) -> None:
    page = text_of(client, f"/videos/{put(parts, samples()[5])}")
    assert "&#39;broken.mp4&#39; cannot be decoded" in page
    assert "convert it to MP4" in page
    assert "<code>not_a_video</code>" in page


def test_a_damaged_coverage_does_not_break_the_page(client: FlaskClient, parts: WebParts) -> None:
    coverage = {"looks": "x", "longest_gap_s": None, "not_judged": [1], "video_tracks": "2"}
    assert text_of(client, f"/videos/{put(parts, indexed('a.mp4', coverage=coverage))}")


# --- boxes, pictures and downloads


def test_boxes_come_from_the_report(client: FlaskClient, lecture_id: int) -> None:
    document = json.loads(text_of(client, f"/videos/{lecture_id}/boxes.json"))
    assert (document["problem"], document["note"]) == ("", "")
    assert document["faces"][0] == [0.0, 10, 40, 34, 40, 0, ""]
    assert [1010.0, 280, 150, 20, 20, -1, "too small"] in document["faces"]
    assert document["faces"] == sorted(document["faces"])
    assert document["labels"]["5"] == "unknown 1"
    answer = client.get(f"/videos/{lecture_id}/boxes.json")
    again = client.get(answer.request.path, headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_old_reports_tell_the_person_by_the_name(
    client: FlaskClient, parts: WebParts, lecture_id: int
) -> None:
    box = {"top": 1, "right": 9, "bottom": 9, "left": 2}
    face = {"time_s": 1, "box_px": box, "nearest": "Emil", "not_judged": None}
    write_report(parts, {"faces": [face]})
    document = json.loads(text_of(client, f"/videos/{lecture_id}/boxes.json"))
    assert document["faces"] == [[1.0, 2, 1, 7, 8, 4, ""]]


@pytest.mark.parametrize("change", [{"name": "Eve"}, {"etag": "another upload"}])
def test_no_boxes_are_shown_while_the_report_has_other_people(
    filmed: Filmed, tmp_path: Path, change: dict[str, str]
) -> None:
    client, key = pages_of(filmed, tmp_path), report_key("1.mp4")
    video_id, _ = filmed.face("1.mp4", "Ada")
    path, bucket = f"/videos/{video_id}/boxes.json", filmed.settings.report_bucket
    assert json.loads(text_of(client, path))["faces"]
    report = json.loads(filmed.store.read(bucket, key, 1 << 20))
    report["people"][0]["name"] = change.get("name", report["people"][0]["name"])
    report["video"]["etag"] = change.get("etag", report["video"]["etag"])
    filmed.store.write(bucket, key, json.dumps(report).encode(), "", {})
    document = json.loads(text_of(client, path))
    assert document["faces"] == []
    assert "its result is being written again" in document["note"]


def write_report(parts: WebParts, document: object) -> None:
    body = json.dumps(document).encode()
    parts.store.write(parts.settings.report_bucket, report_key(KEY), body, "", {})


@pytest.mark.parametrize(
    "report", [[], {}, {"faces": [1]}, {"faces": [{"time_s": "x", "box_px": {}}]}]
)
def test_a_damaged_report_is_named(
    client: FlaskClient, parts: WebParts, lecture_id: int, report: object
) -> None:
    write_report(parts, report)
    document = json.loads(text_of(client, f"/videos/{lecture_id}/boxes.json"))
    assert "its report cannot be read" in document["note"]


def test_a_missing_report_and_a_deleted_or_replaced_video_are_named(
    client: FlaskClient, parts: WebParts, lecture_id: int
) -> None:
    def said() -> tuple[str, str]:
        document = json.loads(text_of(client, f"/videos/{lecture_id}/boxes.json"))
        return document["problem"], document["note"]

    parts.store.delete(parts.settings.report_bucket, report_key(KEY))
    parts.store.write(parts.settings.input_bucket, KEY, b"another", "video/mp4", {})
    problem, note = said()
    assert "has been replaced" in problem
    assert "its report does not exist" in note
    parts.store.delete(parts.settings.input_bucket, KEY)
    assert "has been deleted" in said()[0]
    assert json.loads(text_of(client, f"/videos/{lecture_id}/boxes.json"))["gone"] is True
    assert "Ada Lovelace" in text_of(client, f"/videos/{lecture_id}")
    assert client.get(f"/videos/{lecture_id}/report.json").status_code == 404


def test_without_a_bucket_for_reports_the_page_says_so(tmp_path: Path) -> None:
    with web_parts(tmp_path, report_bucket="") as built:
        client, video_id = pages_client(built), put(built, samples()[0])
        built.store.write(BUCKET, samples()[0].key, b"a video", "video/mp4", {})
        note = json.loads(text_of(client, f"/videos/{video_id}/boxes.json"))["note"]
        assert "REPORT_BUCKET is empty" in note
        assert client.get(f"/videos/{video_id}/faces/0.jpg").status_code == 404
        assert client.get(f"/videos/{video_id}/report.json").status_code == 404


def test_a_picture_is_private_and_has_an_etag(client: FlaskClient, lecture_id: int) -> None:
    answer = client.get(f"/videos/{lecture_id}/faces/4.jpg")
    assert (answer.status_code, answer.content_type) == (200, "image/jpeg")
    assert answer.get_data() == picture(4)
    assert answer.headers["Cache-Control"] == "private, no-cache"
    etag = answer.headers["ETag"]
    again = client.get(f"/videos/{lecture_id}/faces/4.jpg", headers={"If-None-Match": etag})
    assert (again.status_code, again.get_data()) == (304, b"")
    assert client.get(f"/videos/{lecture_id}/faces/99.jpg").status_code == 404


def test_the_picture_near_a_time(client: FlaskClient, lecture_id: int) -> None:
    near = client.get(f"/videos/{lecture_id}/faces/0.jpg?t={LATER_S + 100}")
    assert near.get_data() == picture(8)
    first = client.get(f"/videos/{lecture_id}/faces/0.jpg?t=3")
    assert first.get_data() == picture(0)
    assert client.get(f"/videos/{lecture_id}/faces/0.jpg?t=nan").status_code == 200


def test_pictures_are_read_once_and_again_after_a_change(
    client: FlaskClient, parts: WebParts, lecture_id: int
) -> None:
    path = f"/videos/{lecture_id}/faces/1.jpg"
    assert client.get(path).status_code == 200
    parts.store.write(parts.settings.report_bucket, faces_key(KEY), b"damaged", "", {})
    assert client.get(path).status_code == 200
    video = parts.index.get(lecture_id)
    assert video is not None
    parts.index.put([replace(video, gallery="gallery-2", corrected=True)])
    assert client.get(path).status_code == 404
    parts.index.put([replace(video, kept="encodings")])
    assert client.get(path).status_code == 404


def test_no_picture_is_shown_while_a_correction_is_half_written(
    client: FlaskClient, parts: WebParts, lecture_id: int
) -> None:
    """The stored faces have other people than the index; the pictures would be of the wrong ones.
    Afterwards, the undone correction must not bring them back."""
    path, bucket = f"/videos/{lecture_id}/faces/4.jpg", parts.settings.report_bucket
    body = parts.store.read(bucket, faces_key(KEY), MAX_FACES_BYTES)
    before = parse_faces(body)
    etag = client.get(path).headers["ETag"]
    for other in (replace(before, names=("Emil", *before.names[1:])), replace(before, etag="new")):
        parts.store.write(bucket, faces_key(KEY), render_faces(other), "", {})
        video = parts.index.get(lecture_id)
        assert video is not None
        parts.index.put([video])
        assert client.get(path, headers={"If-None-Match": etag}).status_code == 404
    parts.store.write(bucket, faces_key(KEY), body, "", {})
    answer = client.get(path)
    assert answer.get_data() == picture(4)
    parts.index.put([video])
    assert client.get(path).headers["ETag"] not in (etag, answer.headers["ETag"])


def test_downloads(client: FlaskClient, lecture_id: int) -> None:
    result = client.get(f"/videos/{lecture_id}/result.csv")
    assert list(csv.reader(result.get_data(as_text=True).splitlines())) == [["name"], ["Ada"]]
    assert 'filename="lecture 12.csv"' in result.headers["Content-Disposition"]
    report = client.get(f"/videos/{lecture_id}/report.json")
    assert report.get_json()["status"] == "recognised"
    captions = text_of(client, f"/videos/{lecture_id}/people.vtt")
    assert captions.startswith("WEBVTT\n\n00:00:00.000 --> 00:20:10.000\nAda Lovelace\n")
    assert "00:25:00.000 --> 00:25:01.000\nunknown 2\n" in captions


def test_a_key_with_a_line_break_can_be_downloaded(client: FlaskClient, parts: WebParts) -> None:
    video_id = put(parts, replace(samples()[0], key="week 1/a\r\nSet-Cookie: b.mp4"))
    answer = client.get(f"/videos/{video_id}/people.vtt")
    assert answer.status_code == 200
    assert r"a\\r\\nSet-Cookie" in answer.headers["Content-Disposition"]
    assert "Set-Cookie" not in answer.headers


# --- attempts


def test_recognising_again_is_queued_logged_and_shown(
    client: FlaskClient, parts: WebParts, lecture_id: int
) -> None:
    assert "hx-trigger" not in facts_tag(text_of(client, f"/videos/{lecture_id}"))
    for _ in range(2):
        answer = post(client, f"/videos/{lecture_id}/rerun")
        assert local_path(answer.location) == f"/videos/{lecture_id}"
    assert [work.key for work in parts.queue.history(BUCKET, KEY)] == [KEY]
    (line,) = parts.changes.latest(9)
    assert (line.action, line.name) == ("rerun", KEY)
    page = text_of(client, f"/videos/{lecture_id}")
    assert "waits to be recognised again" in page
    poll = re.search(r'hx-get="([^"]*)"', facts_tag(page))
    assert poll
    assert client.get(poll[1]).status_code == 204
    (work,) = parts.queue.claim(1, 60)
    assert "The video is being recognised." in text_of(client, poll[1])
    parts.queue.finish(work, "recognised")
    assert "is being recognised" not in text_of(client, poll[1])


def test_the_page_asks_until_the_index_has_the_result(
    client: FlaskClient, parts: WebParts, lecture_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.queue.add([VideoRef(BUCKET, KEY, event_id="1")])
    (work,) = parts.queue.claim(1, 60)
    parts.queue.finish(work, "recognised")  # the indexer follows seconds later
    poll = re.search(r'hx-get="([^"]*)"', facts_tag(text_of(client, f"/videos/{lecture_id}")))
    assert poll
    assert client.get(poll[1]).status_code == 204
    video = parts.index.get(lecture_id)
    assert video
    parts.index.put([replace(video, people=video.people[:1], finished_s=2e9)])
    page = text_of(client, poll[1])
    assert "Ben Bitdiddle" not in page
    again = re.search(r'hx-get="([^"]*)"', facts_tag(page))
    assert again
    monkeypatch.setattr(video_page, "INDEXED_S", 0.0)
    last = client.get(again[1])
    assert (last.status_code, last.headers["HX-Reswap"]) == (286, "none")
    assert "hx-get" not in facts_tag(text_of(client, f"/videos/{lecture_id}"))


def test_a_correction_that_ends_while_the_page_is_made_is_shown(
    client: FlaskClient, parts: WebParts, lecture_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = parts.index.get(lecture_id)
    assert video

    def corrected(*_: object) -> bool:
        parts.index.put([replace(video, people=video.people[:1], finished_s=2e9)])
        return False

    monkeypatch.setattr(VideoQueries, "waits_for_correction", corrected)
    page = text_of(client, f"/videos/{lecture_id}")
    assert "hx-get" not in facts_tag(page)
    assert "Ben Bitdiddle" not in page


def facts_tag(page: str) -> str:
    found = re.search(r'<div id="facts"[^>]*>', page)
    assert found
    return found[0]


def test_a_deleted_video_cannot_be_recognised_again(client: FlaskClient, parts: WebParts) -> None:
    video_id = put(parts, indexed("gone.mp4"))
    post(client, f"/videos/{video_id}/rerun")
    assert "does not exist" in text_of(client, f"/videos/{video_id}")
    assert parts.queue.counts()["queued"] == 0


def test_the_history_shows_reasons(client: FlaskClient, parts: WebParts, lecture_id: int) -> None:
    parts.queue.add([VideoRef(BUCKET, KEY, event_id="1")])
    (work,) = parts.queue.claim(1, 60)
    parts.queue.bury(work, "store_unavailable", "the store <did> not answer")
    page = text_of(client, f"/videos/{lecture_id}")
    assert "the store &lt;did&gt; not answer" in page
    assert 'class="state failed">failed' in page


# --- verdicts, with the real corrections

ADA, BEN = direction(0), direction(1)


@pytest.fixture
def filmed(tmp_path: Path) -> Iterator[Filmed]:
    with closing(open_file(tmp_path / "inbox.sqlite3")) as database:
        filmed = Filmed(tmp_path, database)
        twin = between(ADA, direction(2), 0.5)
        filmed.faces = {"ada": ADA, "ben": BEN, "twin": twin, "eve": direction(5)}
        filmed.enrol(Ada=ADA, Ben=BEN)
        filmed.film("1.mp4", {"ada": [0, 1, 2], "ben": [1, 2]})
        filmed.film("2.mp4", {"twin": [0, 1, 2], "eve": [5, 6]})
        filmed.film("3.mp4", {"eve": [0, 1]}, kept="none")
        yield filmed


def pages_of(filmed: Filmed, tmp_path: Path) -> FlaskClient:
    parts = make_parts(
        filmed.database,
        tmp_path,
        store=filmed.store,
        gallery=filmed.location,
        corrections=filmed.corrections,
    )
    return pages_client(parts)


def say(client: FlaskClient, filmed: Filmed, key: str, name_before: str, **form: str) -> str:
    """Send the form of a person as htmx does, and return the new part of the page."""
    values = {"person": form_of(client, filmed, key, name_before), **form}
    return send(client, filmed, key, values)


def form_of(client: FlaskClient, filmed: Filmed, key: str, person: str = "") -> str:
    """The hidden value by which the form of the first person with this name names that person."""
    video_id, number = filmed.face(key, person)
    return forms_of(client, video_id)[number]


def forms_of(client: FlaskClient, video_id: int) -> dict[int, str]:
    """The hidden values of the forms of all people, by number."""
    form = re.compile(
        r'name="person" value="([^"]*)">\s*<div class="field"><label for="name-(\d+)"'
    )
    found = form.findall(text_of(client, f"/videos/{video_id}"))
    return {int(number): value for value, number in found}


def send(client: FlaskClient, filmed: Filmed, key: str, form: Mapping[str, str]) -> str:
    values = {**form, "csrf_token": csrf_token(client)}
    answer = client.post(
        f"/videos/{filmed.id_of(key)}/people", data=values, headers={"HX-Request": "true"}
    )
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return str(answer.get_data(as_text=True))


def test_a_face_that_is_somebody_else_is_corrected_in_its_video(
    filmed: Filmed, tmp_path: Path
) -> None:
    client = pages_of(filmed, tmp_path)
    part = say(client, filmed, "2.mp4", "Ada", action="is", name="Ben")
    assert part.lstrip().startswith('<div id="facts"')
    assert "The faces are being compared with the gallery again." in part
    assert "Named 1 face Ben." in part
    assert ">Undo</button>" in part
    filmed.rematcher.run_due()
    assert filmed.names("2.mp4") == ["Ben", "unknown"]
    video_id = filmed.id_of("2.mp4")
    page = text_of(client, f"/videos/{video_id}/facts?version=old")
    assert "corrected since" in page
    assert "compared with the gallery" not in page


def test_a_given_name_says_who_gave_it(filmed: Filmed, tmp_path: Path) -> None:
    client = pages_of(filmed, tmp_path)
    path = f"/videos/{filmed.id_of('2.mp4')}"
    assert "named by" not in text_of(client, path)
    say(client, filmed, "2.mp4", "Ada", action="is", name="Ben")
    filmed.rematcher.run_due()
    page = text_of(client, path)
    (row,) = re.findall(r'<li class="seen-row">.*?>Ben</a>.*?</li>', page, re.S)
    assert re.search(r'<a href="/log\?name=Ben&amp;only=changes"[^>]*>named by hand, <time', row)
    assert "0.00" not in row
    assert 'class="certainty' not in row
    assert 'aria-label="Ben, 0:00 to 0:02, named by hand"' in page
    assert ">named by hand</td>" in page
    assert "named 1 face Ben" in text_of(client, "/log?name=Ben")
    # Another video of the same face was recognised, and a name of the machine has a certainty.
    assert "named by" not in text_of(client, f"/videos/{filmed.id_of('1.mp4')}")
    (change,) = [each for each in filmed.log.latest(9) if each.action == "is"]
    filmed.corrections.undo(change.id, "eve")
    filmed.rematcher.run_due()
    assert "named by" not in text_of(client, path)


def test_a_page_of_a_video_opens_without_the_gallery(filmed: Filmed, tmp_path: Path) -> None:
    client = pages_of(filmed, tmp_path)
    say(client, filmed, "2.mp4", "Ada", action="is", name="Ben")
    filmed.rematcher.run_due()
    (tmp_path / "gallery.npz").write_bytes(b"not a gallery")
    assert "Ben, 0:00 to 0:02, clear" in text_of(
        pages_of(filmed, tmp_path), f"/videos/{filmed.id_of('2.mp4')}"
    )


def test_nobody_i_know_and_ignore(filmed: Filmed, tmp_path: Path) -> None:
    client = pages_of(filmed, tmp_path)
    say(client, filmed, "2.mp4", "Ada", action="not")
    filmed.rematcher.run_due()
    assert filmed.names("2.mp4") == ["unknown", "unknown"]
    say(client, filmed, "2.mp4", "", action="ignore")
    filmed.rematcher.run_due()
    assert filmed.names("2.mp4") == ["unknown"]


def test_an_unknown_person_gets_a_name(filmed: Filmed, tmp_path: Path) -> None:
    client = pages_of(filmed, tmp_path)
    say(client, filmed, "2.mp4", "", action="is", name="Eve")
    filmed.rematcher.run_due()
    assert filmed.names("2.mp4") == ["Ada", "Eve"]


def test_people_of_a_video_are_named_one_after_the_other(filmed: Filmed, tmp_path: Path) -> None:
    """The form of the second person is older than the correction after the first one."""
    filmed.faces |= {"zoe": direction(9), "pia": direction(10)}
    filmed.film("4.mp4", {"ada": [0], "zoe": [1, 2, 3], "pia": [1, 2]})
    client = pages_of(filmed, tmp_path)
    forms = forms_of(client, filmed.id_of("4.mp4"))
    assert filmed.names("4.mp4") == ["unknown", "unknown", "Ada"]
    zoe, pia, ada = (forms[number] for number in range(3))
    send(client, filmed, "4.mp4", {"person": zoe, "action": "ignore"})
    filmed.rematcher.run_due()
    assert filmed.names("4.mp4") == ["unknown", "Ada"]
    send(client, filmed, "4.mp4", {"person": pia, "action": "is", "name": "Pia"})
    filmed.rematcher.run_due()
    assert filmed.names("4.mp4") == ["Pia", "Ada"]
    send(client, filmed, "4.mp4", {"person": ada, "action": "not"})
    filmed.rematcher.run_due()
    assert filmed.names("4.mp4") == ["Pia", "unknown"]
    assert "Nothing was changed" in send(client, filmed, "4.mp4", {"person": pia, "action": "not"})


def test_forms_stay_valid_while_the_index_of_a_video_is_written(
    filmed: Filmed, tmp_path: Path
) -> None:
    """Its people are written before the groups of the unknown ones, which have the tokens."""
    filmed.faces |= {"zoe": direction(9), "pia": direction(10)}
    video_id = filmed.film("4.mp4", {"zoe": [1, 2, 3], "pia": [1, 2]})
    client, video = pages_of(filmed, tmp_path), filmed.indexed("4.mp4")
    before = forms_of(client, video_id)
    filmed.database.run(lambda connection: filmed.index.put_in(connection, [video]))
    between = forms_of(client, video_id)
    part = send(client, filmed, "4.mp4", {"person": before[0], "action": "is", "name": "Zoe"})
    assert "Named 1 face Zoe." in part
    filmed.film("4.mp4", {"zoe": [1, 2, 3], "pia": [1, 2]})
    assert filmed.names("4.mp4") == ["Zoe", "unknown"]
    part = send(client, filmed, "4.mp4", {"person": between[1], "action": "is", "name": "Pia"})
    assert "Named 1 face Pia." in part


def test_a_name_that_comes_during_a_correction_is_not_lost(
    filmed: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed.faces |= {"zoe": direction(9)}
    filmed.film("4.mp4", {"ada": [0], "zoe": [1, 2, 3]})
    client = pages_of(filmed, tmp_path)
    say(client, filmed, "4.mp4", "", action="is", name="Zoe")
    with monkeypatch.context() as patch:
        patch.setattr(Corrector, "put", lambda *_: None)
        filmed.rematcher.run_due()
    part = say(client, filmed, "4.mp4", "Ada", action="is", name="Eve")
    assert "&#39;4.mp4&#39; is being corrected; try again in a moment" in part
    assert part.count('name="verdict" open') == 1
    assert 'value="Eve" autofocus>' in part
    filmed.rematcher.run_due()


def test_a_form_of_an_earlier_result_changes_nothing(filmed: Filmed, tmp_path: Path) -> None:
    client = pages_of(filmed, tmp_path)
    part = say(client, filmed, "2.mp4", "Ada", action="is", name="Ben", person="old")
    assert "Nothing was changed" in part
    assert filmed.corrections.pending() == 0


def test_a_refused_name_is_explained_in_its_form(filmed: Filmed, tmp_path: Path) -> None:
    client = pages_of(filmed, tmp_path)
    part = say(client, filmed, "2.mp4", "Ada", action="is", name="unknown")
    assert "stands for everyone else" in part
    part = say(client, filmed, "2.mp4", "Ada", action="is", name="b e n")
    assert part.count('name="verdict" open') == 1
    assert 'value="b e n" autofocus' in part
    assert "“b e n” looks like “Ben”, who is in the gallery already." in part
    assert filmed.corrections.pending() == 0
    part = say(client, filmed, "2.mp4", "Ada", to="Ben")
    assert "Named 1 face Ben." in part
    assert 'name="verdict" open' not in part


def test_a_known_name_may_be_typed_in_another_case(filmed: Filmed, tmp_path: Path) -> None:
    part = say(pages_of(filmed, tmp_path), filmed, "2.mp4", "Ada", action="is", name="bEN")
    assert "Named 1 face Ben." in part


def test_a_name_close_to_a_known_one_is_asked_about(filmed: Filmed, tmp_path: Path) -> None:
    client = pages_of(filmed, tmp_path)
    filmed.corrections.rename("Ben", "Vin Diesel", "hand")
    filmed.rematcher.run_due()
    part = say(client, filmed, "2.mp4", "Ada", action="is", name="Vin Diesl")
    assert part.count('name="verdict" open') == 1
    assert 'value="Vin Diesl" autofocus' in part
    assert "“Vin Diesl” is not in the gallery yet. Do you mean “Vin Diesel”?" in part
    assert "This is Vin Diesel</button>" in part
    assert "Add “Vin Diesl” as a new person</button>" in part
    assert filmed.corrections.pending() == 0
    part = say(client, filmed, "2.mp4", "Ada", name="Vin Diesl", to="Vin Diesel")
    assert "Named 1 face Vin Diesel." in part
    filmed.rematcher.run_due()
    part = say(client, filmed, "2.mp4", "Vin Diesel", name="Vin Diesl", new="Vin Diesl")
    assert "Named 1 face Vin Diesl." in part
    assert 'name="verdict" open' not in part


def test_without_stored_faces_the_page_says_what_is_missing(filmed: Filmed, tmp_path: Path) -> None:
    page = text_of(pages_of(filmed, tmp_path), f"/videos/{filmed.id_of('3.mp4')}")
    assert "set KEEP_FACES to encodings or pictures" in page
    assert 'class="verdict"' not in page


@pytest.mark.parametrize("form", [{}, {"action": "x"}, {"action": "is", "name": " "}])
def test_a_damaged_form_is_refused(filmed: Filmed, tmp_path: Path, form: dict[str, str]) -> None:
    client = pages_of(filmed, tmp_path)
    values = {**form, "person": form_of(client, filmed, "2.mp4", "Ada")}
    answer = post(client, f"/videos/{filmed.id_of('2.mp4')}/people", values)
    assert answer.status_code == 400


def test_viewers_see_no_buttons_and_may_not_post(
    filmed: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, video_id = pages_of(filmed, tmp_path), filmed.id_of("2.mp4")
    monkeypatch.setattr("rollcall.web.sign_in.LOCAL", User("vi", "viewer"))
    page = text_of(client, f"/videos/{video_id}")
    assert "Recognise again" not in page
    assert 'class="verdict"' not in page
    assert post(client, f"/videos/{video_id}/rerun").status_code == 403
    assert post(client, f"/videos/{video_id}/people", {"action": "ignore"}).status_code == 403


def test_days_are_days_in_utc() -> None:
    assert videos._day_s("2026-11-21") == pytest.approx(T0 - T0 % DAY_S)
    assert videos._day_s("2026-11-21", 1) == pytest.approx(T0 - T0 % DAY_S + DAY_S)


def test_a_page_of_very_many_people_stays_small(client: FlaskClient, parts: WebParts) -> None:
    times = [(float(n), n + 0.5) for n in range(300)]
    crowd = [appearance(number, f"Person {number}", *times) for number in range(2000)]
    page = text_of(client, f"/videos/{put(parts, indexed('a.mp4', *crowd, kept='encodings'))}")
    assert page.count('class="lane lane-') == 200
    assert "1800 more people are in the table" in page
    assert len(page) < 4 << 20


@pytest.mark.parametrize(
    ("coverage", "text", "words"),
    [
        ({}, "No faces were found.", "nobody"),
        ({"looks": 3}, "No faces were found.", "no faces"),
        ({"faces": 4, "ignored": 1}, "1 face is ignored.", "only ignored faces"),
        ({"faces": 9, "ignored": 2}, "2 faces are ignored.", "only ignored faces"),
        (
            {"faces": 3, "not_judged": {"too small": 3}},
            "3 faces could not be judged.",
            "no clear faces",
        ),
        (
            {"faces": 4, "not_judged": {"too small": 3}},
            "Nobody is listed any more, because somebody was forgotten.",
            "somebody was forgotten",
        ),
    ],
)
def test_a_video_without_people_says_why(
    client: FlaskClient,
    parts: WebParts,
    coverage: dict[str, object],
    text: str,
    words: str,
) -> None:
    found = replace(indexed("a.mp4"), status="no_face", people=(), coverage=coverage)
    assert text in text_of(client, f"/videos/{put(parts, found)}")
    for path in ("/", "/videos"):
        assert f">{words}<" in re.sub(r"\s*\n\s*", "", text_of(client, path))


def test_what_was_not_searched_is_hatched(client: FlaskClient, parts: WebParts) -> None:
    person = replace(appearance(0, "Ada"), first_s=2.0, last_s=2.0, intervals=((2.0, 2.0),))
    whole = replace(indexed("a.mp4", person), duration_s=8.0)
    page = text_of(client, f"/videos/{put(parts, whole)}")
    assert "not-searched" not in page
    assert "not searched" not in page
    stopped = replace(whole, key="b.mp4", coverage={"looks": 3, "stopped_at_s": 2.0})
    page = text_of(client, f"/videos/{put(parts, stopped)}")
    assert (
        "The search stopped at the first clear frame, at 0:02; the rest was not searched." in page
    )
    assert re.search(r'class="not-searched" x="25.000%" y="5" width="75.000%"', page)
    assert re.search(r'class="not-searched" d="M25[0-9] 8H1000"', text_of(client, "/videos"))
    assert re.search(r'class="not-searched" d="M25[0-9] 8H1000"', text_of(client, "/"))
    for path in ("/", "/videos"):
        assert "</svg> not searched, because the first clear frame was enough" in text_of(
            client, path
        )
    assert re.search(r"seen at <button[^>]*>0:02<", page)


def test_pages_without_videos_say_how_to_upload(client: FlaskClient) -> None:
    for path in ("/", "/videos"):
        page = text_of(client, path)
        assert "python workload.py FOLDER" in page
        assert "aws s3 cp VIDEO.mp4 s3://input-bucket-video/" in page
        assert "env.sh" in page


def test_a_part_of_a_name_finds_the_person(client: FlaskClient, parts: WebParts) -> None:
    parts.index.put(samples())
    assert "1.mp4" in titles(text_of(client, "/videos?person=bitdid"))
    page = text_of(client, "/videos?person=e&q=door")
    assert "Several names contain “e”" in page
    assert 'href="/videos?q=door&amp;person=Ben+Bitdiddle"' in page
    assert "Nobody called “xyz”" in text_of(client, "/videos?person=xyz")


def test_days_are_chosen_by_a_link(client: FlaskClient, parts: WebParts) -> None:
    values = {"q": "door", "from": "2020-01-01", "to": "2020-01-02"}
    assert videos.quick(values, date(2026, 11, 27)) == [
        ("today", "/videos?q=door&from=2026-11-27"),
        ("last 7 days", "/videos?q=door&from=2026-11-21"),
        ("last week", "/videos?q=door&from=2026-11-16&to=2026-11-22"),
    ]
    assert "last 7 days</a>" in text_of(client, "/videos")
