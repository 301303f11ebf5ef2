"""The log of changes, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from support.databases import open_tables
from support.work_queues import T0, Clock

from rollcall.core.web_protocols import ChangeLog
from rollcall.database.database import Database
from rollcall.index.change_log import CHUNK, KEEP_VIEWS_S, MAX_TEXT_CHARS, SqlChangeLog


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Database]:
    is_postgresql = request.param == "postgresql"
    file = f"sqlite:///{tmp_path}/log.sqlite3"
    url = request.getfixturevalue("postgres_url") if is_postgresql else file
    with closing(open_tables(url, clock)) as opened:
        yield opened


@pytest.fixture
def log(database: Database) -> SqlChangeLog:
    return SqlChangeLog(database)


def test_a_line_keeps_what_it_was_given(log: SqlChangeLog) -> None:
    protocol: ChangeLog = log
    id_ = protocol.record("eve", "rename", "Ada", {"new_name": "Ada L."}, {"names": ["Ada"]})
    line = log.get(id_)
    assert line is not None
    assert (line.at_s, line.who, line.action, line.name) == (T0, "eve", "rename", "Ada")
    assert line.details == {"new_name": "Ada L."}
    assert (line.videos, line.can_undo, line.undone_by, line.undoes) == (0, True, None, None)
    assert log.undo_of(id_) == {"names": ["Ada"]}


def test_a_line_without_undo(log: SqlChangeLog) -> None:
    line = log.get(log.record("eve", "sign_in"))
    assert line is not None
    assert not line.can_undo
    assert log.undo_of(line.id) == {}
    assert log.get(line.id + 1) is None
    assert log.undo_of(line.id + 1) == {}


def test_pages_of_lines(log: SqlChangeLog) -> None:
    ids = [log.record("eve", "is", "Ada" if n % 2 else "Ben") for n in range(7)]
    newest = log.latest(3)
    assert [line.id for line in newest] == ids[:3:-1]
    assert [line.id for line in log.latest(3, before_id=newest[-1].id)] == ids[3:0:-1]
    assert [line.id for line in log.latest(10, name="Ada")] == [ids[5], ids[3], ids[1]]
    assert [line.id for line in log.latest(10, before_id=ids[5], name="Ada")] == [ids[3], ids[1]]
    assert log.latest(10, name="Eve") == []


def test_a_change_is_undone_once(log: SqlChangeLog) -> None:
    change, undo, again = (log.record("eve", action) for action in ("is", "undo", "undo"))
    assert log.mark_undone(change, undo)
    assert not log.mark_undone(change, again)
    undone, by, late = (log.get(id_) for id_ in (change, undo, again))
    assert undone is not None
    assert by is not None
    assert late is not None
    assert (undone.undone_by, undone.can_undo) == (undo, False)
    assert (by.undoes, late.undoes) == (change, None)


def test_several_processes_count_the_videos_of_a_change(log: SqlChangeLog) -> None:
    id_ = log.record("eve", "not", "Ada")
    threads = [threading.Thread(target=log.count_videos, args=(id_,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.count_videos(id_, 3)
    line = log.get(id_)
    assert line is not None
    assert line.videos == 11


NAME = 'Zoë "Z" 100% O\\Neill_'


def test_a_forgotten_person_is_in_no_line(log: SqlChangeLog, database: Database) -> None:
    decomposed = unicodedata.normalize("NFD", NAME)
    lines = [
        log.record("eve", "is", NAME, {"video": "a.mp4"}, {"verdict": "1"}),
        log.record("eve", "merge", "Ada", {"into": NAME, "names": ["Ada", NAME]}, {"into": NAME}),
        log.record("eve", "enrol", decomposed, {"people": {decomposed: 3, "Ada": 1}}),
    ]
    other_case = log.record("eve", "is", NAME.upper(), {"into": NAME.upper()}, {"verdict": "3"})
    kept = log.record("eve", "is", NAME + "x", {"video": f"{NAME} and more"}, {"verdict": "2"})
    assert log.mentions(NAME) == 3
    assert log.forget(NAME) == 3
    assert log.mentions(NAME) == log.forget(NAME) == 0
    found = [log.get(id_) for id_ in lines]
    assert [(line.name, line.can_undo) for line in found if line] == [
        ("", False),
        ("", False),  # Ada is a former name of the same person
        ("", False),
    ]
    assert [line.details for line in found if line] == [
        {"video": "a.mp4"},
        {"names": []},
        {"people": {"Ada": 1}},
    ]
    others = [log.get(kept), log.get(other_case)]
    assert [line.name for line in others if line and line.can_undo] == [NAME + "x", NAME.upper()]
    with database.reading() as connection:
        rows = connection.execute(text("SELECT * FROM change WHERE id <= :id"), {"id": lines[-1]})
        assert "Neill" not in repr(rows.all())


def rename(log: SqlChangeLog, name: str, new: str, action: str = "rename") -> int:
    field = "into" if action == "merge" else "new_name"
    undo = {"name": name, field: new} if action != "undo" else None
    return log.record("eve", action, name, {field: new}, undo)


def test_former_names_are_forgotten_and_those_of_others_stay(
    log: SqlChangeLog, database: Database
) -> None:
    kept = [log.record("eve", "enrol", "Ann"), rename(log, "Ann", "Zoe")]  # another Ann
    gone = [
        log.record("eve", "remove_photo", "Ann", {}, {"example": "1"}),
        log.record("eve", "is", "Bob", {"before": ["Ann"]}, {"verdicts": ["2"]}),
        log.record("eve", "enrol", "Countess"),
        rename(log, "Ann", "Ann Miller"),
        rename(log, "Countess", "Ann Miller", "merge"),
        rename(log, "Ann Miller", "Ann Smith"),
    ]
    kept += [log.record("eve", "enrol", "Ann"), rename(log, "Ann", "Bea", "merge")]
    undo = rename(log, "Xenia", "Ann Smith", "merge")
    log.mark_undone(undo, log.record("eve", "undo", "Xenia", {"action": "merge"}))
    before = [log.get(id_) for id_ in kept]
    with database.transaction() as connection:
        insert = "INSERT INTO removed_example (change_id, facts, encoding) VALUES (:id, '', :body)"
        connection.execute(text(insert), {"id": gone[0], "body": b"x"})
    assert log.mentions("Ann Smith") == log.forget("Ann Smith") == len(gone) + 1
    assert log.mentions("Ann Smith") == 0
    assert [log.get(id_) for id_ in kept] == before
    lines = [log.get(id_) for id_ in gone]
    assert [line.name for line in lines if line] == ["", "Bob", "", "", "", ""]
    assert [dict(line.details) for line in lines if line] == [{}, {"before": []}, {}, {}, {}, {}]
    xenia = log.get(undo)
    assert xenia is not None
    assert (xenia.name, xenia.details) == ("Xenia", {})
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM removed_example")).scalar() == 0


def test_a_rename_back_is_forgotten_with_both_names(log: SqlChangeLog) -> None:
    first = rename(log, "Ann", "Ann Smith")
    second = rename(log, "Ann Smith", "Ann", "undo")
    log.mark_undone(first, second)
    assert log.forget("Ann") == 2
    lines = [log.get(first), log.get(second)]
    assert [(line.name, line.details) for line in lines if line] == [("", {}), ("", {})]


def test_a_verdict_that_only_mentions_a_forgotten_person_can_be_undone(log: SqlChangeLog) -> None:
    id_ = log.record("eve", "is", "Bob", {"before": ["Ada", "Eve"]}, {"verdicts": ["2"]})
    assert log.forget("Ada") == 1
    line = log.get(id_)
    assert line is not None
    assert (line.name, line.details, line.can_undo) == ("Bob", {"before": ["Eve"]}, True)
    assert log.undo_of(id_) == {"verdicts": ["2"]}


def test_a_person_with_many_lines_is_forgotten(log: SqlChangeLog, database: Database) -> None:
    with database.transaction() as connection:
        rows = [{"name": "Ada" if n % 2 else "Ben", "action": "view"} for n in range(2 * CHUNK + 2)]
        statement = "INSERT INTO change (name, action) VALUES (:name, :action)"
        connection.execute(text(statement), rows)
    assert log.forget("Ada") == CHUNK + 1
    assert log.mentions("Ben") == CHUNK + 1


def test_old_looks_are_deleted_and_changes_stay(log: SqlChangeLog, clock: Clock) -> None:
    kept = [log.record("eve", "is", "Ada")]
    for _ in range(CHUNK + 1):
        log.record("eve", "view", "Ada")
    clock.now_s += KEEP_VIEWS_S + 1
    kept.append(log.record("eve", "view", "Ada"))
    assert log.prune() == CHUNK + 1
    assert log.prune() == 0
    assert [line.id for line in log.latest(10)] == kept[::-1]


def test_hostile_texts_are_stored(log: SqlChangeLog) -> None:
    line = log.get(log.record("a\x00b", "is", "\ud800" * 2000, {"key": "\x00\ud800"}))
    assert line is not None
    assert line.who == "a\ufffdb"
    assert line.name == "?" * MAX_TEXT_CHARS
    assert line.details == {"key": "\x00\ud800"}
