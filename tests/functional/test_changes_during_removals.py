"""Nobody changes the gallery or the log while a person is removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from support.filmed import Filmed, direction, open_filmed
from support.work_queues import Clock

from rollcall.core.errors import InboxUnavailable
from rollcall.core.verdicts import Example, FaceSource
from rollcall.corrections.gallery_writer import GalleryWriter
from rollcall.database.removal_lock import removing
from rollcall.gallery.enrolled_pictures import read_picture, write_pictures
from rollcall.gallery.gallery_formats import render_gallery


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filmed]:
    with open_filmed(request, tmp_path, Clock()) as filmed:
        filmed.faces = {"new": direction(2)}
        filmed.enrol(Ann=direction(0), Bea=direction(1))
        filmed.film("1.mp4", {"new": [1, 2]})
        yield filmed


def test_a_person_gets_no_other_name_during_the_removal(filmed: Filmed) -> None:
    version = filmed.gallery.version
    with removing(filmed.database):
        with pytest.raises(InboxUnavailable, match="a person is being removed"):
            filmed.corrections.rename("Ann", "Eve", "eve")
        assert filmed.gallery.version == version
    filmed.corrections.rename("Ann", "Eve", "eve")
    assert filmed.gallery.people == ("Bea", "Eve")


def test_an_undo_that_is_refused_deletes_no_picture(filmed: Filmed) -> None:
    photo = Example("e1", FaceSource("1.jpg"), 0.0, "eve")
    filmed.location.save(render_gallery(filmed.gallery.with_encoding("Cid", direction(5), photo)))
    write_pictures(filmed.location, {"e1": b"jpeg"})
    change = filmed.log.record("eve", "enrol", "Cid", {"photos": 1}, {"examples": ["e1"]})
    with removing(filmed.database), pytest.raises(InboxUnavailable):
        filmed.corrections.undo(change, "eve")
    assert read_picture(filmed.location, "e1") == b"jpeg"
    filmed.corrections.undo(change, "eve")
    assert read_picture(filmed.location, "e1") is None
    assert filmed.gallery.people == ("Ann", "Bea")


def test_nothing_is_compared_during_a_removal(filmed: Filmed) -> None:
    for _ in range(2):
        filmed.rematcher.notice_changes()
    with removing(filmed.database):
        filmed.location.save(render_gallery(filmed.gallery.without("Ann")))
        for _ in range(3):
            filmed.rematcher.notice_changes()
        assert filmed.corrections.pending() == 0
    filmed.rematcher.notice_changes()
    assert filmed.corrections.pending() == 1


@pytest.mark.parametrize("by_page", [True, False])
def test_the_name_does_not_come_back_to_the_log(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch, by_page: bool
) -> None:
    """A person is removed while everything is compared with the gallery that has the person."""
    filmed.corrections.is_person([filmed.face("1.mp4")], "Nina", "eve")
    filmed.rematcher.run_due()
    compare_everything = GalleryWriter.compare_everything

    def compare_and_remove(writer: GalleryWriter) -> None:
        compare_everything(writer)
        filmed.location.save(render_gallery(filmed.gallery.without("Nina")))
        filmed.log.forget("Nina")

    filmed.location.save(render_gallery(filmed.gallery.with_encoding("Cid", direction(5))))
    monkeypatch.setattr(GalleryWriter, "compare_everything", compare_and_remove)
    if by_page:
        filmed.corrections.gallery_changed()
    else:
        for _ in range(2):
            filmed.rematcher.notice_changes()
    monkeypatch.undo()
    for _ in range(3):
        filmed.rematcher.notice_changes()
    with filmed.database.reading() as connection:
        lines = connection.execute(text("SELECT name, details, undo FROM change")).all()
    assert "Nina" not in repr(lines)
