"""The pages about people with real corrections: the past follows what somebody says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from support.databases import open_file
from support.filmed import Filmed, between, direction
from support.web_pages import make_parts, pages_client, post

from rollcall.core.index_types import FaceRef
from rollcall.web.gallery_cache import MAX_AGE_S, GalleryCache


@pytest.fixture
def filmed(tmp_path: Path) -> Iterator[Filmed]:
    with closing(open_file(tmp_path / "inbox.sqlite3")) as database:
        built = Filmed(tmp_path, database)
        nina = direction(1)
        built.faces = {
            "ada": direction(0),
            "nina": nina,
            "nina2": between(nina, direction(2), 0.2),
            "other": between(nina, direction(3), 0.42),
        }
        built.enrol(Ada=direction(0))
        for key, face in (("1.mp4", "nina"), ("2.mp4", "nina2"), ("3.mp4", "other")):
            built.film(key, {face: [1.0, 2.0], "ada": [1.0]})
        yield built


@pytest.fixture
def client(filmed: Filmed, tmp_path: Path) -> FlaskClient:
    parts = make_parts(filmed.database, tmp_path)
    parts = replace(
        parts,
        settings=filmed.settings,
        store=filmed.store,
        gallery=filmed.location,
        corrections=filmed.corrections,
        known=GalleryCache(filmed.location, itertools.count(step=MAX_AGE_S).__next__),
    )
    return pages_client(parts)


def text_of(client: FlaskClient, path: str) -> str:
    answer = client.get(path, follow_redirects=True)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def group_form(client: FlaskClient, name: str = "Nina") -> dict[str, str]:
    """The form that names the first group, as its page has it."""
    (faces,) = re.findall('name="faces" value="(.*?)"', text_of(client, "/unknown/1"))
    return {"name": name, "faces": faces}


def test_a_named_group_is_named_in_earlier_videos(client: FlaskClient, filmed: Filmed) -> None:
    assert "3 faces" in text_of(client, "/unknown")
    post(client, "/unknown/1/name", group_form(client))
    assert "Named 3 faces Nina." in text_of(client, "/unknown")
    assert "3 videos are being compared" in text_of(client, "/people/by-name/Nina")
    filmed.rematcher.run_due()
    page = text_of(client, "/people/by-name/Nina")
    assert "in 3 videos" in page
    assert "3 photos in the gallery" in page
    assert "from the video 1.mp4" in page
    assert text_of(client, "/unknown").count("data-group") == 0

    (change,) = filmed.log.latest(1)
    filmed.corrections.undo(change.id, "ada")
    filmed.rematcher.run_due()
    assert client.get("/people/by-name/Nina").status_code == 404
    assert "3 faces" in text_of(client, "/unknown")


def test_a_face_that_was_left_out_does_not_get_the_name(
    client: FlaskClient, filmed: Filmed
) -> None:
    page, video_id = text_of(client, "/unknown/1"), filmed.id_of("3.mp4")
    (marked,) = re.findall(f'name="other" value="({video_id}-.*?)"', page)
    answer = post(client, "/unknown/1/name", {**group_form(client), "other": marked})
    assert answer.status_code == 303
    filmed.rematcher.run_due()
    assert [sorted(filmed.names(key)) for key in ("1.mp4", "2.mp4", "3.mp4")] == [
        ["Ada", "Nina"],
        ["Ada", "Nina"],
        ["Ada", "unknown"],
    ]


def test_a_verdict_is_not_about_another_face_after_a_correction(
    client: FlaskClient, filmed: Filmed
) -> None:
    filmed.faces["zoe"] = direction(9)
    filmed.film("4.mp4", {"zoe": [1.0, 2.0, 3.0], "nina2": [1.0, 2.0]})
    video_id = filmed.id_of("4.mp4")
    page = text_of(client, "/unknown/1")
    (marked,) = re.findall(f'name="other" value="({video_id}-.*?)"', page)
    form = group_form(client)
    # Another editor ignores a face of the same video, and the marked one gets its number.
    filmed.corrections.ignore([FaceRef(video_id, 0)], "editor")
    filmed.rematcher.run_due()
    assert filmed.names("4.mp4") == ["unknown"]
    post(client, "/unknown/1/name", {**form, "other": marked})
    filmed.rematcher.run_due()
    assert [filmed.names(key) for key in ("1.mp4", "4.mp4")] == [["Nina", "Ada"], ["unknown"]]


def test_groups_of_one_video_are_named_one_after_the_other(
    client: FlaskClient, filmed: Filmed
) -> None:
    """The form of the second group is older than the correction after the first one."""
    filmed.faces |= {"zoe": direction(9), "pia": direction(10)}
    filmed.film("4.mp4", {"zoe": [1.0, 2.0, 3.0], "pia": [1.0, 2.0]})
    group_of = {face: group.id for group in filmed.groups.largest(9) for face in group.faces}
    zoe, pia = (group_of[FaceRef(filmed.id_of("4.mp4"), number)] for number in (0, 1))
    forms = {
        group: re.findall('name="faces" value="(.*?)"', text_of(client, f"/unknown/{group}"))[0]
        for group in (zoe, pia)
    }
    post(client, f"/unknown/{zoe}/ignore", {"faces": forms[zoe]})
    filmed.rematcher.run_due()
    assert filmed.names("4.mp4") == ["unknown"]
    post(client, f"/unknown/{pia}/name", {"name": "Pia", "faces": forms[pia]})
    filmed.rematcher.run_due()
    assert filmed.names("4.mp4") == ["Pia"]


def test_a_rename_and_a_merge_reach_the_pages(client: FlaskClient, filmed: Filmed) -> None:
    post(client, "/people/rename", {"name": "Ada", "new_name": "Ada Lovelace"})
    filmed.rematcher.run_due()
    assert "in 3 videos" in text_of(client, "/people/by-name/Ada%20Lovelace")
    post(client, "/unknown/1/name", group_form(client))
    filmed.rematcher.run_due()
    answer = post(client, "/people/merge", {"name": "Nina", "into": "Ada Lovelace"})
    assert answer.location == "/people/by-name/Ada%20Lovelace"
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == ["Ada Lovelace"]
    assert client.get("/people/by-name/Nina").status_code == 404


def test_a_removed_photo_no_longer_names_anybody(client: FlaskClient, filmed: Filmed) -> None:
    (example,) = filmed.gallery.examples_of("Ada")
    page = text_of(client, "/people/by-name/Ada")
    assert "1 photo in the gallery" in page
    post(client, "/unknown/1/name", group_form(client))  # gives the example an id
    (example,) = filmed.gallery.examples_of("Ada")
    assert f'value="{example.id}"' in text_of(client, "/people/by-name/Ada")
    post(client, "/people/remove-photo", {"name": "Ada", "example": example.id})
    filmed.rematcher.run_due()
    assert "Ada" not in filmed.names("1.mp4")
