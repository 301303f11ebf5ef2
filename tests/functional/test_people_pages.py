"""The list of people, and the page of one person."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
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
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.web.parts import WebParts
from rollcall.web.users import User


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[WebParts]:
    with web_parts(tmp_path) as built:
        yield replace(built, corrections=RecordedCorrections(built.changes))


def text_of(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, path
    return answer.get_data(as_text=True)


def names_on(page: str) -> list[str]:
    return re.findall(r'<span class="name">(.*?)</span>', page)


def all_names(client: FlaskClient, path: str) -> list[str]:
    """Follow the button that shows more people."""
    found: list[str] = []
    while path:
        page = text_of(client, path)
        found += names_on(page)
        more = re.search(r'class="button more" href="(.*?)"', page)
        path = more[1].replace("&amp;", "&") if more else ""
    return found


def test_an_empty_page_says_how_people_become_known(client: FlaskClient) -> None:
    page = text_of(client, "/people")
    assert "rollcall enrol NAME photo.jpg" in page
    assert 'href="/enrol"' in page


def test_everybody_is_listed_once_whether_seen_or_not(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.web.people.PAGE", 3)
    seen = [f"Person {number:02}" for number in range(0, 20, 2)]
    for number, name in enumerate(seen):
        put_video(parts.database, f"{number}.mp4", [(name, [(1, 2)])], NOW_S + number)
    save_gallery(parts, {f"person {number:02}x": [encoding(number)] for number in range(7)})
    names = [f"person {number:02}x" for number in range(7)]
    by_name = sorted([*seen, *names], key=str.casefold)
    assert all_names(client, "/people") == by_name
    assert all_names(client, "/people?sort=seen") == [*reversed(seen), *names]


def test_nobody_is_listed_twice_after_the_last_person_of_a_page_was_forgotten(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.web.people.PAGE", 2)
    people = {name: [encoding(1)] for name in ("Ada", "Ben", "Chen", "Dora")}
    save_gallery(parts, people)
    page = text_of(client, "/people?sort=seen")
    more = re.search(r'class="button more" href="(.*?)"', page)
    assert more
    save_gallery(parts, {name: people[name] for name in ("Ada", "Chen", "Dora")})
    assert names_on(text_of(client, more[1].replace("&amp;", "&"))) == ["Chen", "Dora"]


def test_of_very_many_photos_only_some_are_listed(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.web.person_photos.MAX_PHOTOS", 2)
    save_gallery(parts, {"Ada": [encoding(number) for number in range(5)]})
    page = text_of(client, "/people/by-name/Ada")
    assert page.count('<span class="photo">') == 2
    assert "5 photos in the gallery" in page
    assert "and 3 more" in page


def test_gallery_and_index_may_have_the_same_people(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.web.people.PAGE", 2)
    names = ["Ada", "Ben", "Chen", "Dora", "Emil"]
    for number, name in enumerate(names):
        put_video(parts.database, f"{number}.mp4", [(name, [(1, 2)])], NOW_S - number)
    save_gallery(parts, {name: [encoding(1)] for name in [*names, "Fay"]})
    assert all_names(client, "/people") == [*names, "Fay"]
    assert all_names(client, "/people?sort=seen") == [*names, "Fay"]


def test_people_are_filtered_by_letter_and_search(client: FlaskClient, parts: WebParts) -> None:
    put_video(parts.database, "1.mp4", [("Émile Costa", [(1, 2)]), ("Ada 100%", [(3, 4)])])
    save_gallery(parts, {"Emma": [encoding(1)], "Ben": [encoding(2)]})
    assert names_on(text_of(client, "/people?letter=e")) == ["Émile Costa", "Emma"]
    assert names_on(text_of(client, "/people?q=COSTA")) == ["Émile Costa"]
    assert names_on(text_of(client, "/people?q=%25")) == ["Ada 100%"]
    assert names_on(text_of(client, "/people?letter=b&sort=seen")) == ["Ben"]
    assert "Nobody has a name like this" in text_of(client, "/people?q=zzz")


def test_a_damaged_cursor_is_refused(client: FlaskClient) -> None:
    for cursor in ("x", "W10", "bnVsbA", "WzEsMl0"):
        assert "damaged" in text_of(client, f"/people?after={cursor}", 400)
    for cursor in ("W3RydWUsIDFd", "WzUsICJhYmMiXQ"):  # [true, 1] and [5, "abc"]
        assert "damaged" in text_of(client, f"/people?sort=seen&after={cursor}", 400)


def test_a_picture_is_shown_where_pictures_are_kept(client: FlaskClient, parts: WebParts) -> None:
    kept = put_video(parts.database, "1.mp4", [("Ada", [(1, 2)])], NOW_S - 9)
    put_video(parts.database, "2.mp4", [("Ada", [(1, 2)])], NOW_S, kept="none")
    put_video(parts.database, "3.mp4", [("Ben", [(1, 2)])], NOW_S, kept="encodings")
    page = text_of(client, "/people")
    assert re.findall(r'src="(/videos/.*?)"', page) == [f"/videos/{kept}/faces/0.jpg"]


def test_hostile_names_are_escaped(client: FlaskClient, parts: WebParts) -> None:
    name = '<img src=x onerror=alert(1)>"'
    put_video(parts.database, "<b>.mp4", [(name, [(1, 2)])])
    save_gallery(parts, {name: [encoding(1)], "a/b?c#d": [encoding(2)]})
    for path in ("/people", "/people/1", "/people/names?name=img", "/people?q=<b>"):
        page = text_of(client, path)
        assert "<img src=x" not in page
        assert "<b>" not in page
    assert "a/b?c#d" in text_of(client, "/people/by-name/a%2Fb%3Fc%23d")


def test_a_person_is_shown_by_day_with_intervals(client: FlaskClient, parts: WebParts) -> None:
    first = put_video(parts.database, "old.mp4", [("Ada", [(5, 9)])], NOW_S - 2 * DAY_S)
    video = put_video(parts.database, "new.mp4", [("Ben", [(1, 2)]), ("Ada", [(12.3, 75)])])
    page = text_of(client, "/people/by-name/Ada", 302) and text_of(client, "/people/1")
    assert "in 2 videos" in page
    assert page.index("<h3>27 November 2025") < page.index("<h3>25 November 2025")
    assert f'href="/videos/{video}?t=12.3">0:12–1:15</a>' in page
    assert f'href="/videos/{first}?t=5"' in page.replace("t=5.0", "t=5")
    assert 'aria-label="27 November 2025: 1 video"' in page
    assert "likely" in page


def test_a_day_of_the_year_shows_its_videos(client: FlaskClient, parts: WebParts) -> None:
    put_video(parts.database, "old.mp4", [("Ada", [(5, 9)])], NOW_S - 2 * DAY_S)
    put_video(parts.database, "new.mp4", [("Ada", [(5, 9)])])
    page = text_of(client, "/people/1")
    link = re.search(r'href="(\?year=2025&amp;day=2025-11-25)#', page)
    assert link
    page = text_of(client, "/people/1" + link[1].replace("&amp;", "&"))
    assert "old.mp4" in page
    assert "new.mp4" not in page
    assert 'aria-current="date"' in page
    assert "was not seen on this day" in text_of(client, "/people/1?day=2025-11-26")
    assert "seen on 0 days" in text_of(client, "/people/1?year=2024")


@pytest.mark.parametrize("path", ["/", "/people", "/people/1", "/videos", "/videos/1", "/unknown"])
def test_a_time_after_the_year_9999_breaks_no_page(
    client: FlaskClient, parts: WebParts, path: str
) -> None:
    people = [("Ada", [(1, 2)]), ("", [(3, 4)])]
    video = put_video(parts.database, "1.mp4", people, 1e12)
    put_unknown(parts.database, video, {1: encoding(1)}, 1e12)
    assert "9999" in text_of(client, path)


def test_appearances_come_in_parts(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollcall.web.person.PAGE", 2)
    for number in range(5):
        put_video(parts.database, f"{number}.mp4", [("Ada", [(1, 2)])], NOW_S)
    path, found = "/people/1", list[str]()
    while path:
        answer = client.get(path, headers={"HX-Request": "true"}).get_data(as_text=True)
        found += re.findall(r'<span class="cut">(.*?)</span>', answer)
        more = re.search(r'hx-get="(.*?)"', answer)
        path = more[1].replace("&amp;", "&") if more else ""
    assert found == [f"{number}.mp4" for number in (4, 3, 2, 1, 0)]


def put_verdicts(parts: WebParts, *verdicts: tuple[str, str]) -> None:
    """Add verdicts about faces of videos, given by a name and the key of the video."""
    gallery = parts.known.current().gallery
    for number, (name, key) in enumerate(verdicts):
        source = FaceSource(bucket="input-bucket-video", key=key, etag="etag", time_s=12.34)
        rows = encoding(40)[None]
        verdict = Verdict(f"v{number}", "is", name, rows, (source,), "eve", NOW_S)
        gallery = gallery.with_verdict(verdict)
    parts.gallery.save(render_gallery(gallery))
    parts.known.changed()


def test_a_photo_from_a_video_shows_its_face_and_leads_there(
    client: FlaskClient, parts: WebParts
) -> None:
    save_gallery(parts, {"Ada": [encoding(1)]})
    video = put_video(parts.database, "1.mp4", [("", [(1, 2)]), ("Ada", [(9, 20)])])
    put_verdicts(parts, ("Ada", "1.mp4"), ("Ada", "gone.mp4"))
    page = text_of(client, "/people/by-name/Ada", 302) and text_of(client, "/people/1")
    assert f'<a href="/videos/{video}?t=12.3">from the video 1.mp4</a>' in page
    assert f'src="/videos/{video}/faces/1.jpg?t=12.34"' in page
    assert '<span class="cut">from the video gone.mp4</span>' in page
    assert page.count("quality unknown") == 1  # that of the enrolled photo
    put_video(parts.database, "1.mp4", [("Ada", [(9, 20)])], kept="none")
    page = text_of(client, "/people/1")
    assert "from the video 1.mp4</a>" in page
    assert ".jpg?t=" not in page


def test_a_photo_that_a_later_correction_gave_to_somebody_else_says_so(
    client: FlaskClient, parts: WebParts
) -> None:
    save_gallery(parts, {"Ada": [encoding(1), encoding(2)], "Ben": [encoding(3), encoding(4)]})
    put_verdicts(parts, ("Ada", "1.mp4"), ("Ben", "1.mp4"))
    words = "a later correction says that this is somebody else, so it does not count"
    assert words in text_of(client, "/people/by-name/Ada")
    assert "Names are surer with three" in text_of(client, "/people/by-name/Ada")
    assert "very alike" not in text_of(client, "/people/by-name/Ada")
    assert words not in text_of(client, "/people/by-name/Ben")
    assert "Names are surer with three" not in text_of(client, "/people/by-name/Ben")


def test_look_alikes_of_the_gallery_are_named(client: FlaskClient, parts: WebParts) -> None:
    save_gallery(
        parts,
        {
            "Ada": [encoding(1)],
            "Ben": [encoding(2, 0.6, towards=1)],
            "Chen": [encoding(3)],
        },
    )
    page = text_of(client, "/people/by-name/Ada")
    near = page[page.index("Looks like") :]
    assert "Ben" in near
    assert "Chen" not in near
    assert "not seen in any video yet" in page


def test_a_person_can_be_renamed(client: FlaskClient, parts: WebParts) -> None:
    save_gallery(parts, {"Ada": [encoding(1)]})
    answer = post(client, "/people/rename", {"name": "Ada", "new_name": "Ada Lovelace"})
    assert answer.status_code == 303
    (change,) = parts.changes.latest(5)
    assert (change.action, change.name, change.who) == ("rename", "Ada", "local")
    assert "Renamed Ada to Ada Lovelace" in text_of(client, "/people")
    assert post(client, "/people/rename", {"name": "Ada"}).status_code == 400


def test_a_rename_to_a_name_like_somebody_elses_is_asked_about(
    client: FlaskClient, parts: WebParts
) -> None:
    save_gallery(parts, {"Vin Diesel": [encoding(1)], "Vin": [encoding(2)]})

    def asked(new_name: str, **values: str) -> str:
        form = {"name": "Vin", "new_name": new_name, **values}
        return text_of(client, local_path(post(client, "/people/rename", form).location))

    merge = 'href="/people/merge?name=Vin&amp;into=Vin+Diesel">Compare with Vin Diesel</a>'
    page = asked("Vin Diesel")
    assert "“Vin Diesel” is in the gallery already. Are both the same person?" in page
    assert merge in page
    assert 'name="new"' not in page
    assert "“VinDiesel” looks like “Vin Diesel”" in asked("VinDiesel")
    assert "stands for everyone else" in asked("unknown")
    page = asked("Vin Diesl")
    assert "<details open><summary>Rename" in page
    assert 'name="new_name" value="Vin Diesl" autofocus' in page
    assert "“Vin Diesl” is similar to “Vin Diesel”. Are both the same person?" in page
    save_gallery(parts, {name: [encoding(1)] for name in ("Vin", "Vin Diesel", "Vin Diesels")})
    several = "“Vin Diesl” is similar to “Vin Diesel” and “Vin Diesels”. Is it one of them?"
    assert several in asked("Vin Diesl")
    assert merge in page
    assert parts.changes.latest(5) == []
    assert "<details open><summary>Rename" not in text_of(client, "/people/by-name/Vin")
    post(client, "/people/rename", {"name": "Vin", "new_name": "", "new": "Vin Diesl"})
    assert parts.changes.latest(5)[0].details["new_name"] == "Vin Diesl"


def test_a_misspelt_name_can_be_mended_by_a_rename(client: FlaskClient, parts: WebParts) -> None:
    save_gallery(parts, {"Vin Diesl": [encoding(1)]})
    post(client, "/people/rename", {"name": "Vin Diesl", "new_name": "Vin Diesel"})
    assert parts.changes.latest(5)[0].details["new_name"] == "Vin Diesel"
    page = text_of(client, "/people/merge?name=Vin+Diesl&into=Vin+Diesll", 400)
    assert "do you mean &#39;Vin Diesl&#39;?" in page


def test_merging_shows_both_first(client: FlaskClient, parts: WebParts) -> None:
    put_video(parts.database, "1.mp4", [("Ada", [(1, 2)])])
    save_gallery(parts, {"Ada": [encoding(1)], "Ada L": [encoding(2, 0.7, towards=1)]})
    page = text_of(client, "/people/merge?name=Ada+L&into=Ada")
    assert "Merge Ada L into Ada" in page
    assert "very alike" in page
    assert '<img src="/videos/1/faces/0.jpg"' in page
    assert parts.changes.latest(5) == []
    answer = post(client, "/people/merge", {"name": "Ada L", "into": "Ada"})
    assert local_path(answer.location) == "/people/by-name/Ada"
    assert parts.changes.latest(5)[0].action == "merge"
    assert "Merge Ada L into Ada" in text_of(client, "/people/merge?name=Ada+L&into=ada")
    text_of(client, "/people/merge?name=Ada&into=Ada", 400)
    assert "Nobody at all" in text_of(client, "/people/merge?name=Ada&into=Nobody+at+all", 400)


def test_names_are_suggested(client: FlaskClient, parts: WebParts) -> None:
    save_gallery(parts, {name: [encoding(1)] for name in ("Ada", "Zada", "Ben", "Émile")})
    assert re.findall('value="(.*?)"', text_of(client, "/people/names?name=ad")) == ["Ada", "Zada"]
    assert "Émile" in text_of(client, "/people/names?name=emi")
    assert "<option" not in text_of(client, "/people/names?name=")


def test_videos_that_are_still_compared_are_counted(client: FlaskClient, parts: WebParts) -> None:
    waiting = pages_client(replace(parts, corrections=RecordedCorrections(parts.changes, 2)))
    save_gallery(parts, {"Ada": [encoding(1)]})
    assert "2 videos are being compared" in text_of(waiting, "/people/by-name/Ada")
    assert "2 videos are being compared" in text_of(waiting, "/people/pending")
    assert "All videos are up to date" in text_of(client, "/people/pending")


def test_looks_are_logged_only_if_that_is_switched_on(tmp_path: Path) -> None:
    looks = ["Ben", "Ada", "Ada", "Ada"]
    for chosen, expected in (("no", []), ("yes", looks)):
        folder = tmp_path / chosen
        folder.mkdir()
        with web_parts(folder, audit_views=chosen) as parts:
            parts = replace(parts, corrections=RecordedCorrections(parts.changes))
            put_video(parts.database, "1.mp4", [("Ada", [(1, 2)])])
            save_gallery(parts, {"Ben": [encoding(1)]})
            client = pages_client(parts)
            text_of(client, "/people/1")
            client.get("/people/1", headers={"HX-Request": "true"})
            text_of(client, "/people/merge?name=Ada&into=Ben")
            text_of(client, "/people")
            found = parts.changes.latest(9)
            assert [each.name for each in found] == expected
            assert {each.action for each in found} <= {"view"}


def test_a_viewer_sees_no_forms_and_may_change_nothing(
    client: FlaskClient, parts: WebParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_gallery(parts, {"Ada": [encoding(1)], "Ben": [encoding(2)]})
    monkeypatch.setattr("rollcall.web.users.LOCAL", User("vera", "viewer"))
    monkeypatch.setattr("rollcall.web.sign_in.LOCAL", User("vera", "viewer"), raising=False)
    page = text_of(client, "/people/by-name/Ada")
    assert 'method="post"' not in page
    values = {"name": "Ada", "new_name": "Eve", "into": "Ben", "example": "1", "typed": "Ada"}
    for path in ("rename", "merge", "remove-photo", "forget", "forget/list"):
        assert post(client, f"/people/{path}", values).status_code == 403
    assert parts.changes.latest(5) == []


def test_unknown_people_are_404(client: FlaskClient) -> None:
    assert "or no video shows the person under this name" in text_of(client, "/people/7", 404)
    assert "neither in the gallery nor in any video" in text_of(client, "/people/by-name/Eve", 404)


@pytest.mark.parametrize(
    ("distance", "words"),
    [(0.49, "very alike"), (0.59, "alike"), (0.69, "somewhat alike"), (0.86, "not alike")],
)
def test_the_words_for_a_distance(
    client: FlaskClient, parts: WebParts, distance: float, words: str
) -> None:
    ada = encoding(1)
    save_gallery(parts, {"Ada": [ada], "Ben": [ada + distance * np.eye(128)[0]]})
    page = text_of(client, "/people/merge?name=Ada&into=Ben")
    assert f"faces of both are <strong>{words}</strong> (distance {distance:.2f})." in page
