"""Corrections change only the groups that they are about, and undo brings these back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select
from support.filmed import Filmed, between, direction, open_filmed

from rollcall.core.encoding_space import DLIB
from rollcall.core.index_types import FaceRef
from rollcall.corrections import rematch_queue
from rollcall.database.index_tables import unknown_face
from rollcall.index.forgotten_people import PersonInDatabase

PEOPLE, VIDEOS = 6, 10
KEYS = [f"{video}.mp4" for video in range(VIDEOS)]


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filmed]:
    with open_filmed(request, tmp_path, lambda: 1_795_300_000.0) as filmed:
        filmed.enrol(Zoe=direction(127))
        yield filmed


def film_strangers(filmed: Filmed, seed: int) -> None:
    """Videos of strangers, three in each. The looks of one stranger are 0.45 to 0.56 from each
    other, as in real videos of different days, so some orders make several groups of them."""
    random = np.random.default_rng(seed)
    for video, key in enumerate(KEYS):
        seen = {}
        for person in sorted(random.permutation(PEOPLE)[:3].tolist()):
            noise = random.normal(size=10) @ np.eye(10, DLIB.size, 20 + 10 * person)
            name = f"{person}-{video}"
            filmed.faces[name] = direction(person) + 0.36 * noise / np.linalg.norm(noise)
            seen[name] = [0, 1]
        filmed.film(key, seen)


def unknown(filmed: Filmed) -> dict[FaceRef, bytes]:
    """The unknown faces, by their numbers, which corrections change."""
    rows = select(unknown_face).where(unknown_face.c.number >= 0)
    with filmed.database.reading() as connection:
        found = connection.execute(rows).all()
    return {FaceRef(row.video_id, row.number): row.encoding for row in found}


def partition(filmed: Filmed) -> set[frozenset[bytes]]:
    """The encodings of each group."""
    groups = filmed.groups.largest(1000)
    found = {each.id: filmed.groups.faces(each.id, 1000) for each in groups}
    assert [len(found[each.id]) for each in groups] == [each.appearances for each in groups]
    encodings = unknown(filmed)
    return {frozenset(encodings[face] for face in faces) for faces in found.values()}


def numbers(filmed: Filmed, video_id: int) -> list[int]:
    rows = select(unknown_face.c.number).where(unknown_face.c.video_id == video_id)
    with filmed.database.reading() as connection:
        return list(connection.execute(rows.order_by(unknown_face.c.number)).scalars())


def largest(filmed: Filmed, at: int = 0) -> list[FaceRef]:
    return filmed.groups.faces(filmed.groups.largest(at + 1)[at].id, 100)


@pytest.mark.parametrize("seed", range(4))
def test_a_name_leaves_the_other_groups_and_undo_brings_all_back(
    filmed: Filmed, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rematch_queue, "BATCH", 3)
    film_strangers(filmed, seed)
    before = partition(filmed)
    faces = largest(filmed)
    named = frozenset(unknown(filmed)[face] for face in faces)
    change = filmed.corrections.is_person(faces, "Leo Hof", "edith")
    assert filmed.rematcher.run_due().changed
    left = frozenset(unknown(filmed).values())
    assert not left & named
    assert partition(filmed) == {group & left for group in before} - {frozenset()}
    filmed.corrections.undo(change, "edith")
    filmed.rematcher.run_due()
    assert partition(filmed) == before


def test_undo_of_ignored_faces_brings_their_group_back(filmed: Filmed) -> None:
    film_strangers(filmed, 1)
    before = partition(filmed)
    change = filmed.corrections.ignore(largest(filmed), "edith")
    filmed.rematcher.run_due()
    assert len(partition(filmed)) < len(before)
    filmed.corrections.undo(change, "edith")
    filmed.rematcher.run_due()
    assert partition(filmed) == before


def test_a_name_for_a_copy_of_an_ignored_face_names_all(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody names the face of a video that does not ignore it yet."""
    monkeypatch.setattr(rematch_queue, "BATCH", 1)
    filmed.faces |= {"guest": direction(3), "again": between(direction(3), direction(4), 0.01)}
    filmed.film("first.mp4", {"guest": [0, 1]})
    filmed.film("copy.mp4", {"again": [0, 1]})
    filmed.corrections.ignore([filmed.face("first.mp4")], "edith")
    filmed.rematcher.run_batch()
    assert (filmed.names("first.mp4"), filmed.names("copy.mp4")) == ([], ["unknown"])
    filmed.corrections.is_person([filmed.face("copy.mp4")], "Leo Hof", "frank")
    filmed.rematcher.run_due()
    assert filmed.names("copy.mp4") == filmed.names("first.mp4") == ["Leo Hof"]


def test_a_slow_writer_leaves_the_groups_of_a_later_result(filmed: Filmed) -> None:
    """Faces leave their groups in a transaction after that of the index."""
    filmed.faces["guest"] = direction(3)
    filmed.film("1.mp4", {"guest": [0, 1]})
    video = filmed.indexed("1.mp4")
    written = filmed.database.run(lambda connection: filmed.index.put_in(connection, [video]))
    filmed.rebuild(["1.mp4"])
    filmed.index.ungroup(written.ungrouped)
    assert [group.appearances for group in filmed.groups.largest(9)] == [1]


def test_a_remembered_face_goes_with_its_video(filmed: Filmed) -> None:
    film_strangers(filmed, 2)
    face = largest(filmed)[0]
    key = next(key for key in KEYS if filmed.id_of(key) == face.video_id)
    filmed.corrections.is_person(largest(filmed), "Leo Hof", "edith")
    filmed.rematcher.run_due()
    assert any(number < 0 for number in numbers(filmed, face.video_id))
    assert filmed.index.remove(filmed.settings.input_bucket, key)
    assert numbers(filmed, face.video_id) == []


def test_a_person_who_is_forgotten_is_not_remembered(filmed: Filmed) -> None:
    film_strangers(filmed, 2)
    face = largest(filmed)[0]
    filmed.corrections.is_person(largest(filmed), "Leo Hof", "edith")
    filmed.rematcher.run_due()
    left = sum(number >= 0 for number in numbers(filmed, face.video_id))
    list(PersonInDatabase(filmed.database, "Leo Hof").remove())
    assert numbers(filmed, face.video_id) == list(range(left))
