"""Results get the present names of people, even if somebody else has the former name by now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from support.filmed import Filmed, direction, open_filmed
from support.work_queues import Clock

from rollcall.cli.file_index import FileIndex
from rollcall.core.index_types import KeptFaces
from rollcall.core.keys import report_key, result_key
from rollcall.core.results import parse_csv
from rollcall.core.types import Encodings
from rollcall.corrections.rematch_queue import Done
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.index.indexer import Indexer
from rollcall.index.rematch_rows import KEEP_VERSIONS_S

FIRST, SECOND = direction(0), direction(1)
"""Two people, who both are called Ann at first."""


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Filmed]:
    with open_filmed(request, tmp_path, clock) as filmed:
        filmed.faces = {"first": FIRST, "second": SECOND}
        filmed.enrol(Ann=FIRST)
        film(filmed, clock, "a.mp4", "first")
        yield filmed


def film(filmed: Filmed, clock: Clock, key: str, face: str) -> None:
    """A video without stored faces, which is recognised now."""
    filmed.film(key, {face: [1, 2]}, kept="none")
    clock.now_s = max(clock.now_s, filmed.indexed(key).finished_s) + 1


def index_file(filmed: Filmed, clip: Path) -> None:
    """A file of `rollcall recognise --index` that shows the same people as a.mp4."""
    clip.write_bytes(b"x")
    answer = {"people": filmed.report("a.mp4")["people"], "status": "recognised", "error": ""}
    FileIndex(filmed.database, filmed.gallery.version).put(clip, answer)


def enrol_another(filmed: Filmed, name: str, encoding: Encodings) -> None:
    filmed.location.save(render_gallery(filmed.gallery.with_encoding(name, encoding)))
    filmed.corrections.gallery_changed()


@pytest.mark.parametrize("days", [0, 30])
def test_another_person_with_a_former_name_is_renamed(
    filmed: Filmed, clock: Clock, days: int
) -> None:
    filmed.corrections.rename("Ann", "Ann Smith", "eve")
    filmed.rematcher.run_due()
    enrol_another(filmed, "Ann", SECOND)
    film(filmed, clock, "b.mp4", "second")
    clock.now_s += days * 86400
    if days:  # the versions of the gallery that recognised the videos are forgotten
        assert days * 86400 > KEEP_VERSIONS_S
        enrol_another(filmed, "Ben", direction(2))
        clock.now_s += days * 86400
        enrol_another(filmed, "Eve", direction(3))
    change = filmed.corrections.rename("Ann", "Ann Jones", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("a.mp4") == ["Ann Smith"]
    assert filmed.names("b.mp4") == ["Ann Jones"]
    filmed.corrections.undo(change, "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("a.mp4"), filmed.names("b.mp4")) == (["Ann Smith"], ["Ann"])
    assert not filmed.indexed("b.mp4").corrected


def test_a_late_correction_does_not_give_a_video_to_another_person(
    filmed: Filmed, clock: Clock
) -> None:
    filmed.corrections.rename("Ann", "Ann Smith", "eve")
    enrol_another(filmed, "Ann", SECOND)
    film(filmed, clock, "b.mp4", "second")
    second = filmed.corrections.rename("Ann", "Ann Jones", "eve")
    filmed.corrections.undo(second, "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("a.mp4"), filmed.names("b.mp4")) == (["Ann Smith"], ["Ann"])
    filmed.corrections.rename("Ann", "Ann Jones", "eve")
    filmed.corrections.undo(1, "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("a.mp4"), filmed.names("b.mp4")) == (["Ann"], ["Ann Jones"])


def test_names_that_people_exchange(filmed: Filmed, clock: Clock) -> None:
    enrol_another(filmed, "Ben", SECOND)
    film(filmed, clock, "b.mp4", "second")
    for name, new_name in (("Ann", "X"), ("Ben", "Ann"), ("X", "Ben")):
        filmed.corrections.rename(name, new_name, "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("a.mp4"), filmed.names("b.mp4")) == (["Ben"], ["Ann"])
    filmed.corrections.gallery_changed()
    filmed.corrections.rename("Ann", "Anna", "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("a.mp4"), filmed.names("b.mp4")) == (["Ben"], ["Anna"])


def test_an_undone_merge_gives_back_the_name_that_is_used_today(
    filmed: Filmed, clock: Clock
) -> None:
    enrol_another(filmed, "Ben", SECOND)
    film(filmed, clock, "b.mp4", "second")
    merge = filmed.corrections.merge("Ann", "Ben", "eve")
    enrol_another(filmed, "Ann", direction(4))
    filmed.corrections.rename("Ann", "Somebody", "eve")
    filmed.corrections.undo(merge, "eve")
    filmed.corrections.rename("Ann", "Anna", "eve")
    filmed.rematcher.run_due()
    assert (filmed.names("a.mp4"), filmed.names("b.mp4")) == (["Anna"], ["Ben"])


@pytest.mark.parametrize("kept", ["none", "encodings"])
def test_a_function_that_does_not_know_the_new_name_yet(filmed: Filmed, kept: KeptFaces) -> None:
    """It recognises a video with its copy of the gallery, and the trigger indexes the answer."""
    old = filmed.gallery
    filmed.corrections.rename("Ann", "Ann Smith", "eve")
    filmed.rematcher.run_due()
    filmed.film("late.mp4", {"first": [1, 2]}, gallery=old, kept=kept)
    answer = {**filmed.report("late.mp4"), "faces": []}
    filmed.index.remove(filmed.settings.input_bucket, "late.mp4")
    with filmed.database.transaction() as connection:
        insert = text("INSERT INTO unindexed (document, created_s) VALUES (:document, 0)")
        connection.execute(insert, {"document": json.dumps(answer)})
    Indexer(filmed.database, None).index_all()
    assert filmed.rematcher.run_due().changed == 1
    assert filmed.names("late.mp4") == ["Ann Smith"]


@pytest.mark.parametrize("has_report", [True, False])
def test_a_result_without_metadata_is_renamed_if_the_report_tells_the_upload(
    filmed: Filmed, has_report: bool
) -> None:
    place = filmed.settings.output_bucket, result_key("a.mp4")
    filmed.store.write(*place, filmed.result("a.mp4"), "text/csv", {})
    if not has_report:
        filmed.store.delete(filmed.settings.report_bucket, report_key("a.mp4"))
    change = filmed.corrections.rename("Ann", "Ann Smith", "eve")
    done = filmed.rematcher.run_due()
    assert (done.changed, done.failed) == ((1, 0) if has_report else (0, 1))
    if has_report:
        assert filmed.names("a.mp4") == ["Ann Smith"]
    else:
        line = filmed.log.get(change)
        assert line is not None
        assert line.details["failed"] == 1


def test_a_result_without_a_report_keeps_the_line_that_it_follows(
    filmed: Filmed, clock: Clock
) -> None:
    enrol_another(filmed, "Ben", SECOND)
    filmed.store.delete(filmed.settings.report_bucket, report_key("a.mp4"))
    filmed.corrections.rename("Ben", "Cid", "eve")
    filmed.corrections.rename("Ann", "Ben", "eve")
    filmed.rematcher.run_due()
    for number in (2, 3):  # the version of the gallery that the video follows is forgotten
        clock.now_s += KEEP_VERSIONS_S + 1
        enrol_another(filmed, f"Person {number}", direction(number))
    filmed.corrections.rename("Ben", "Benjamin", "eve")
    filmed.rematcher.run_due()
    assert [row["name"] for row in parse_csv(filmed.result("a.mp4"))] == ["Benjamin"]
    assert [person.name for person in filmed.indexed("a.mp4").people] == ["Benjamin"]


def test_an_undone_merge_that_no_report_mentions_is_counted_as_failed(
    filmed: Filmed, tmp_path: Path
) -> None:
    enrol_another(filmed, "Ben", SECOND)
    index_file(filmed, tmp_path / "clip.mp4")
    filmed.store.delete(filmed.settings.report_bucket, report_key("a.mp4"))
    merge = filmed.corrections.merge("Ann", "Ben", "eve")
    assert filmed.rematcher.run_due() == Done(changed=2)
    undo = filmed.corrections.undo(merge, "eve")
    assert filmed.rematcher.run_due() == Done(failed=2)
    line = filmed.log.get(undo)
    assert line is not None
    assert line.details["failed"] == 2
    filmed.corrections.rename("Ben", "Benjamin", "eve")
    assert filmed.rematcher.run_due() == Done(changed=2)


def test_a_file_that_is_only_in_the_index_is_renamed(filmed: Filmed, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    index_file(filmed, clip)
    filmed.corrections.rename("Ann", "Ann Smith", "eve")
    assert filmed.rematcher.run_due() == Done(changed=2)
    video_id = filmed.index.id_of("", str(clip.resolve()))
    assert video_id is not None
    video = filmed.index.get(video_id)
    assert video is not None
    assert [person.name for person in video.people] == ["Ann Smith"]


@pytest.mark.parametrize("first", ["first", "second"])
def test_rows_that_a_merge_joined_keep_the_merged_name(filmed: Filmed, first: str) -> None:
    """Otherwise all of Ben's time would be Ann's after the undo, and Ben would disappear."""
    enrol_another(filmed, "Ben", SECOND)
    seen = {"first": [1, 2], "second": [5, 6], first: [1, 2, 3]}
    filmed.film("both.mp4", seen, kept="none")
    filmed.film("kept.mp4", seen)
    separate = filmed.names("kept.mp4")
    merge = filmed.corrections.merge("Ann", "Ben", "eve")
    filmed.rematcher.run_due()
    merged = filmed.result("both.mp4"), filmed.indexed("both.mp4")
    assert filmed.names("both.mp4") == ["Ben"]
    undo = filmed.corrections.undo(merge, "eve")
    assert filmed.rematcher.run_due() == Done(changed=2, failed=1)
    assert (filmed.names("a.mp4"), filmed.names("kept.mp4")) == (["Ann"], separate)
    assert (filmed.result("both.mp4"), filmed.indexed("both.mp4")) == merged
    line = filmed.log.get(undo)
    assert line is not None
    assert line.details["failed"] == 1
    filmed.corrections.rename("Ben", "Benjamin", "eve")
    filmed.rematcher.run_due()
    assert filmed.names("both.mp4") == ["Benjamin"]


def test_a_renamed_result_that_the_index_lacks_is_put_into_it(filmed: Filmed) -> None:
    before = filmed.indexed("a.mp4")
    filmed.corrections.rename("Ann", "Ann Smith", "eve")
    filmed.rematcher.run_due()
    filmed.index.put([before])  # as if the process had died before it wrote the index
    filmed.corrections.rename("Ann Smith", "Ann Jones", "eve")
    filmed.corrections.undo(2, "eve")
    with filmed.database.transaction() as connection:
        connection.exec_driver_sql("UPDATE rematch SET due_s = 0")
        connection.exec_driver_sql(
            "INSERT INTO rematch (bucket, key, due_s, created_s)"
            " SELECT bucket, key, 0, 0 FROM video"
            " WHERE NOT EXISTS (SELECT 1 FROM rematch)"
        )
    filmed.rematcher.run_due()
    assert filmed.names("a.mp4") == ["Ann Smith"]
