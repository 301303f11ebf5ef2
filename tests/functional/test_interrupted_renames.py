"""A rename in a video without stored faces is interrupted, or the log that it follows is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.databases import open_tables
from support.filmed import Filmed, direction, open_filmed
from support.work_queues import Clock

from rollcall.core.errors import InboxUnavailable, StoreUnavailable
from rollcall.core.keys import report_key
from rollcall.core.results import parse_csv
from rollcall.corrections.corrector import Corrector
from rollcall.corrections.name_changes import names_as_of
from rollcall.index.change_log import write_line
from rollcall.stores.memory import MemoryStore


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Filmed]:
    with open_filmed(request, tmp_path, clock) as filmed:
        filmed.faces = {"ann": direction(0), "ben": direction(1), "new": direction(2)}
        filmed.enrol(Ann=direction(0), Ben=direction(1))
        filmed.film("ann.mp4", {"ann": [1]}, kept="none")
        filmed.film("both.mp4", {"ann": [1, 2, 3], "ben": [1, 2]}, kept="none")
        clock.now_s = filmed.indexed("both.mp4").finished_s + 1
        filmed.rematcher.notice_changes()
        yield filmed


def give_the_name_of_ben_to_ann(filmed: Filmed) -> None:
    filmed.corrections.rename("Ben", "Cid", "eve")
    filmed.corrections.rename("Ann", "Ben", "eve")


def correct_after_a_break(filmed: Filmed, clock: Clock) -> None:
    assert filmed.rematcher.run_due().postponed
    clock.now_s += 700
    filmed.rematcher.run_due()


def test_names_are_not_changed_twice_if_the_report_cannot_be_written(
    filmed: Filmed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_if = MemoryStore.write_if

    def stop(store: MemoryStore, bucket: str, key: str, *rest: Any) -> None:
        if key == report_key("both.mp4"):
            monkeypatch.undo()
            raise StoreUnavailable("the store restarts")
        write_if(store, bucket, key, *rest)

    give_the_name_of_ben_to_ann(filmed)
    monkeypatch.setattr(MemoryStore, "write_if", stop)
    correct_after_a_break(filmed, clock)
    assert filmed.names("both.mp4") == ["Ben", "Cid"]


def test_names_are_not_changed_twice_if_the_index_cannot_be_written(
    filmed: Filmed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed.store.delete(filmed.settings.report_bucket, report_key("both.mp4"))

    def stop(*values: object) -> None:
        monkeypatch.undo()
        raise InboxUnavailable("the database restarts")

    give_the_name_of_ben_to_ann(filmed)
    monkeypatch.setattr(Corrector, "put", stop)
    correct_after_a_break(filmed, clock)
    assert [row["name"] for row in parse_csv(filmed.result("both.mp4"))] == ["Ben", "Cid"]
    assert [person.name for person in filmed.indexed("both.mp4").people] == ["Ben", "Cid"]


@contextmanager
def without_log(filmed: Filmed, folder: Path, clock: Clock) -> Iterator[Filmed]:
    """The same store and gallery with a new database."""
    with closing(open_tables(f"sqlite:///{folder}/new.sqlite3", clock)) as database:
        new = Filmed(folder, database, store=filmed.store)
        new.faces = filmed.faces
        new.rebuild(["ann.mp4", "both.mp4"])
        clock.now_s += 60
        new.rematcher.notice_changes()
        yield new


def test_a_result_follows_the_log_of_a_new_database(
    filmed: Filmed, tmp_path: Path, clock: Clock
) -> None:
    for name, new_name in (("Ann", "Ada"), ("Ada", "Ann"), ("Ann", "Anna")):
        filmed.corrections.rename(name, new_name, "eve")
    filmed.rematcher.run_due()
    with without_log(filmed, tmp_path, clock) as new:
        new.corrections.rename("Anna", "Ann Smith", "eve")
        new.rematcher.run_due()
        assert (new.names("ann.mp4"), new.names("both.mp4")) == (
            ["Ann Smith"],
            ["Ann Smith", "Ben"],
        )


def test_a_merge_is_not_taken_for_another_line_of_a_new_database(
    filmed: Filmed, tmp_path: Path, clock: Clock
) -> None:
    filmed.corrections.merge("Ann", "Ben", "eve")
    filmed.rematcher.run_due()
    with without_log(filmed, tmp_path, clock) as new:
        new.film("new.mp4", {"new": [1]})
        verdict = new.corrections.is_person([new.face("new.mp4")], "Cid", "eve")
        assert verdict == 1  # the number that the merge had
        new.corrections.undo(verdict, "eve")
        new.corrections.rename("Ben", "Benjamin", "eve")
        new.rematcher.run_due()
        assert (new.names("ann.mp4"), new.names("both.mp4")) == (["Benjamin"], ["Benjamin"])


def test_a_line_that_is_written_late_hides_no_rename(filmed: Filmed) -> None:
    """`lost_lines` writes lines with the times of the verdicts."""
    with filmed.database.transaction() as connection:
        write_line(connection, 50, "eve", "rename", "Zoe", {"new_name": "Zoey"})
        write_line(connection, 200, "eve", "rename", "Ann", {"new_name": "Anna"})
        write_line(connection, 100, "eve", "is", "Ben", {}, {"verdicts": ["v"]})
        assert names_as_of(connection, "unknown", 150) == 1
