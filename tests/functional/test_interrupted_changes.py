"""The process or the database stops between the gallery and the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from support.filmed import Filmed, between, direction, open_filmed
from support.work_queues import Clock

from rollcall.core.errors import GalleryError, InboxUnavailable, StoreUnavailable
from rollcall.core.verdicts import Example, FaceSource
from rollcall.corrections import recorded_changes
from rollcall.corrections.correction_parts import build_corrections
from rollcall.corrections.started_changes import IN_PROGRESS_S, KEEP_S
from rollcall.gallery.gallery_formats import render_gallery

Change = Callable[[Filmed], int]


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Filmed]:
    with open_filmed(request, tmp_path, clock) as filmed:
        filmed.faces = {"ann": direction(0), "bea": direction(1), "new": direction(5)}
        filmed.enrol(Ann=direction(0), Bea=direction(1), Bess=direction(2))
        filmed.location.save(render_gallery(filmed.gallery.reassigned((), (), "Ann")))  # with ids
        filmed.film("bare.mp4", {"ann": [1, 2]}, kept="none")
        filmed.film("kept.mp4", {"ann": [1, 2]})
        clock.now_s = filmed.indexed("kept.mp4").finished_s + 1
        filmed.rematcher.notice_changes()
        yield filmed


def rename(filmed: Filmed) -> int:
    return filmed.corrections.rename("Ann", "Eve", "eve")


def merge(filmed: Filmed) -> int:
    return filmed.corrections.merge("Ann", "Bea", "eve")


def remove_photo(filmed: Filmed) -> int:
    (example,) = filmed.gallery.examples_of("Bess")
    return filmed.corrections.remove_example("Bess", example.id, "eve")


def interrupt(filmed: Filmed, make_change: Change) -> None:
    """The gallery is written, and then the database stops."""

    def stop(*values: object) -> bool:
        raise InboxUnavailable("the database restarts")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded_changes, "finish", stop)
        with pytest.raises(InboxUnavailable):
            make_change(filmed)


def fail(filmed: Filmed, make_change: Change) -> None:
    """The change is computed, and then the gallery cannot be written."""

    def update(_: object, change: Callable[[bytes | None], bytes | None]) -> None:
        change(filmed.location.load())
        raise StoreUnavailable("the store does not answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(filmed.location), "update", update)
        with pytest.raises(StoreUnavailable):
            make_change(filmed)


def restart(filmed: Filmed) -> None:
    filmed.corrections, filmed.rematcher = build_corrections(
        filmed.settings, filmed.database, filmed.store, filmed.location, filmed.students
    )


@pytest.mark.parametrize(
    ("make_change", "names"), [(rename, ["Eve"]), (merge, ["Bea"]), (remove_photo, ["Ann"])]
)
def test_a_change_is_completed_and_can_be_undone(
    filmed: Filmed, make_change: Change, names: list[str]
) -> None:
    version, before = filmed.gallery.version, filmed.state(["bare.mp4", "kept.mp4"])
    interrupt(filmed, make_change)
    assert filmed.gallery.version != version
    assert filmed.log.latest(10) == []
    assert filmed.log.get(1) is None
    restart(filmed)
    for _ in range(2):
        filmed.rematcher.notice_changes()
    filmed.rematcher.run_due()
    assert (filmed.names("bare.mp4"), filmed.names("kept.mp4")) == (names, names)
    (line,) = filmed.log.latest(10)
    assert (line.who, line.action, line.can_undo) == ("eve", make_change.__name__, True)
    filmed.corrections.undo(line.id, "eve")
    filmed.rematcher.run_due()
    assert filmed.state(["bare.mp4", "kept.mp4"]) == before
    assert filmed.gallery.version == version


def test_an_undo_is_completed_by_the_next_change(filmed: Filmed) -> None:
    change = rename(filmed)
    interrupt(filmed, lambda filmed: filmed.corrections.undo(change, "eve"))
    with pytest.raises(GalleryError, match="'Eve' is not in the gallery"):
        filmed.corrections.undo(change, "eve")
    line = filmed.log.get(change)
    assert line is not None
    assert line.undone_by == filmed.log.latest(1)[0].id
    filmed.rematcher.run_due()
    assert filmed.names("bare.mp4") == ["Ann"]


def test_a_person_is_renamed_again_before_the_first_rename_is_completed(filmed: Filmed) -> None:
    interrupt(filmed, rename)
    filmed.corrections.rename("Eve", "Eva", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("bare.mp4") == ["Eva"]
    lines = [(line.name, line.details) for line in filmed.log.latest(10)]
    assert lines == [("Eve", {"new_name": "Eva"}), ("Ann", {"new_name": "Eve"})]


def test_a_gallery_that_cannot_be_written_leaves_no_line(filmed: Filmed, clock: Clock) -> None:
    fail(filmed, remove_photo)
    clock.now_s += KEEP_S + 1
    rename(filmed)
    assert [line.action for line in filmed.log.latest(10)] == ["rename"]
    with filmed.database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM change")).scalar() == 1
        assert connection.execute(text("SELECT count(*) FROM removed_example")).scalar() == 0


def test_a_merge_that_failed_is_not_completed_by_a_later_rename(filmed: Filmed) -> None:
    """The merge and the rename both take the name from the gallery."""

    fail(filmed, merge)
    filmed.corrections.rename("Ann", "Anna", "eve")
    filmed.corrections.rename("Bess", "Tess", "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("bare.mp4"), filmed.names("kept.mp4")) == (["Anna"], ["Anna"])
    assert [line.action for line in filmed.log.latest(10)] == ["rename", "rename"]


def test_a_video_that_was_corrected_before_an_older_change_was_completed(
    filmed: Filmed, clock: Clock
) -> None:
    filmed.film("both.mp4", {"ann": [1, 2], "bea": [1]}, kept="none")
    interrupt(filmed, rename)
    restart(filmed)
    filmed.corrections.rename("Bea", "Beate", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("both.mp4") == ["Ann", "Beate"]
    clock.now_s += IN_PROGRESS_S + 1
    for _ in range(2):
        filmed.rematcher.notice_changes()
    filmed.rematcher.run_due()
    assert filmed.names("both.mp4") == ["Eve", "Beate"]


def test_a_started_line_keeps_no_name_of_a_forgotten_person(filmed: Filmed) -> None:
    interrupt(filmed, rename)
    filmed.log.forget("Ann")
    filmed.log.forget("Eve")
    with filmed.database.reading() as connection:
        lines = connection.execute(text("SELECT name, details, undo FROM change")).all()
    assert "Ann" not in repr(lines)
    assert "Eve" not in repr(lines)


def test_an_enrolment_that_was_cut_short_can_be_undone(filmed: Filmed, clock: Clock) -> None:
    filmed.film("new.mp4", {"new": [1, 2]})
    version, at_s = filmed.gallery.version, clock.now_s
    uploads = [Example(f"e{n}", FaceSource("1.jpg"), at_s, "eve") for n in range(2)]
    rows = np.array([direction(5), between(direction(5), direction(6), 0.1)])
    gallery = filmed.gallery.with_encodings("New", rows, uploads)
    by_command = Example("e9", FaceSource("2.jpg"), at_s)
    gallery = gallery.with_encoding("Other", direction(7), by_command)
    filmed.location.save(render_gallery(gallery))
    clock.now_s += 20
    for _ in range(3):
        filmed.rematcher.notice_changes()
    filmed.corrections.gallery_changed()
    filmed.rematcher.run_due()
    assert filmed.names("new.mp4") == ["New"]
    (line,) = filmed.log.latest(10)
    assert (line.who, line.action, line.name, line.at_s) == ("eve", "enrol", "New", at_s)
    assert line.details == {"photos": 2}
    filmed.corrections.undo(line.id, "eve")
    filmed.corrections.gallery_changed()
    filmed.rematcher.run_due()
    assert filmed.names("new.mp4") == ["unknown"]
    assert filmed.gallery.without("Other").version == version
    assert len(filmed.log.latest(10)) == 2


def test_groups_are_joined_later_if_the_verdict_was_cut_short(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*values: object) -> None:
        raise InboxUnavailable("the database restarts")

    filmed.faces["other"] = direction(6)
    for name in ("new", "other"):
        filmed.film(f"{name}.mp4", {name: [1]})
    monkeypatch.setattr(type(filmed.groups), "set_same", stop)
    with pytest.raises(InboxUnavailable):
        filmed.corrections.same([filmed.face("new.mp4"), filmed.face("other.mp4")], "eve")
    monkeypatch.undo()
    assert filmed.groups.count() == 2
    filmed.corrections.gallery_changed()
    assert filmed.groups.count() == 1


def test_an_enrolment_in_progress_gets_one_line(filmed: Filmed, clock: Clock) -> None:
    upload = Example("e1", FaceSource("1.jpg"), clock.now_s, "eve")
    gallery = filmed.gallery.with_encoding("New", direction(5), upload)
    filmed.location.save(render_gallery(gallery))
    clock.now_s += 1
    filmed.corrections.gallery_changed()  # somebody else enrols at the same time
    filmed.log.record("eve", "enrol", "New", {"photos": 1}, {"examples": ["e1"]})
    clock.now_s += 60
    filmed.corrections.gallery_changed()
    assert len(filmed.log.latest(10)) == 1
