"""An older change is undone after somebody has changed the same people again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.filmed import Filmed, direction, open_filmed
from support.work_queues import Clock

from rollcall.core.errors import GalleryError
from rollcall.core.types import Encodings
from rollcall.gallery.gallery_formats import render_gallery


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filmed]:
    clock = Clock()
    with open_filmed(request, tmp_path, clock) as filmed:
        filmed.faces = {"ann": direction(0), "bea": direction(1), "other": direction(2)}
        filmed.enrol(Ann=direction(0), Bea=direction(1))
        filmed.location.save(render_gallery(filmed.gallery.reassigned((), (), "Ann")))  # with ids
        filmed.film("bare.mp4", {"ann": [1, 2]}, kept="none")
        filmed.film("kept.mp4", {"ann": [1, 2]})
        clock.now_s = filmed.indexed("kept.mp4").finished_s + 1
        filmed.rematcher.notice_changes()
        yield filmed


def names(filmed: Filmed) -> list[list[str]]:
    filmed.rematcher.run_due()
    return [filmed.names("bare.mp4"), filmed.names("kept.mp4")]


def enrol(filmed: Filmed, name: str, encoding: Encodings) -> None:
    filmed.location.save(render_gallery(filmed.gallery.with_encoding(name, encoding)))
    filmed.corrections.gallery_changed()


def test_a_merge_is_undone_after_the_merged_person_was_renamed(filmed: Filmed) -> None:
    merge = filmed.corrections.merge("Ann", "Bea", "eve")
    filmed.corrections.rename("Bea", "Beatrice", "eve")
    assert names(filmed) == [["Beatrice"], ["Beatrice"]]
    filmed.corrections.undo(merge, "eve")
    assert names(filmed) == [["Ann"], ["Ann"]]


def test_the_undo_of_a_merge_makes_nobody_one_with_another_person(filmed: Filmed) -> None:
    merge = filmed.corrections.merge("Ann", "Bea", "eve")
    enrol(filmed, "Ann", direction(2))
    version = filmed.gallery.version
    with pytest.raises(GalleryError, match="somebody else is called 'Ann' by now"):
        filmed.corrections.undo(merge, "eve")
    assert filmed.gallery.version == version
    filmed.corrections.rename("Ann", "Another Ann", "eve")
    filmed.corrections.undo(merge, "eve")
    assert filmed.gallery.people == ("Ann", "Another Ann", "Bea")
    assert names(filmed) == [["Ann"], ["Ann"]]
    with pytest.raises(GalleryError, match="cannot be merged"):
        filmed.corrections.merge("Ann", "Ann", "eve")


def test_the_undo_of_a_rename_renames_nobody_else(filmed: Filmed) -> None:
    rename = filmed.corrections.rename("Ann", "Eve", "eve")
    filmed.corrections.rename("Eve", "Eva", "eve")
    enrol(filmed, "Eve", direction(2))
    with pytest.raises(GalleryError, match=r"'Eve' had then .* rename the person instead"):
        filmed.corrections.undo(rename, "eve")
    assert filmed.gallery.people == ("Bea", "Eva", "Eve")


def test_a_removed_photo_comes_back_to_a_person_with_a_new_name(filmed: Filmed) -> None:
    enrol(filmed, "Ann", direction(3))
    example = filmed.gallery.examples_of("Ann")[1]
    change = filmed.corrections.remove_example("Ann", example.id, "eve")
    filmed.corrections.rename("Ann", "Anna", "eve")
    filmed.corrections.undo(change, "eve")
    assert filmed.gallery.people == ("Anna", "Bea")
    assert example in filmed.gallery.examples_of("Anna")
    assert names(filmed) == [["Anna"], ["Anna"]]


def test_a_removed_face_leaves_a_merge_as_it_was(filmed: Filmed) -> None:
    filmed.film("new.mp4", {"other": [1]})
    verdict = filmed.corrections.is_person([filmed.face("new.mp4")], "Cid", "eve")
    merge = filmed.corrections.merge("Cid", "Bea", "eve")
    filmed.rematcher.run_due()
    (example,) = (each for each in filmed.gallery.examples_of("Bea") if each.verdict)
    with filmed.database.transaction() as connection:  # as if the line had been lost
        connection.exec_driver_sql(f"DELETE FROM change WHERE id = {verdict}")
    enrol(filmed, "Dan", direction(4))  # writes the lost line, after the merge
    filmed.corrections.remove_example("Bea", example.id, "eve")
    line = filmed.log.get(merge)
    assert line is not None
    assert line.undone_by is None
    assert filmed.gallery.people == ("Ann", "Bea", "Dan")
