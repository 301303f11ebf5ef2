"""The tables of a fresh database, and those that Alembic makes from an earlier one.

Run this file as a program to write the tables into the revision that creates them. That is only
right until the first release with that revision. After it, changed tables need a new revision.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Index, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from support.old_inbox import write_old_inbox

from rollcall.core.errors import InboxUnavailable, SettingsError
from rollcall.core.settings import Settings
from rollcall.database import index_tables, migrations
from rollcall.database.database import Database
from rollcall.database.file_lock import own_file
from rollcall.database.open_database import REVISIONS, migrate, open_database
from rollcall.database.tables import metadata, prepare_postgresql
from rollcall.queues.queue_rules import indexable

VERSIONS = Path(migrations.__file__).parent / "versions"
DIALECTS = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}

ROWS = [
    # identity, key, etag, origin, state, attempts, calls, code, stage, prefix, turn
    ("e1", "a/1.mp4", "x1", "event", "done", 1, 1, "recognised", 0, "a/", 0),
    ("e2", "a/2.mp4", "x2", "event", "running", 2, 3, "busy", 1, "a/", 4),
    ("e3", "a/2.mp4", "x3", "event", "queued", 0, 0, "", 2, "a/", 0),
    ("e4", "4.mp4", "x4", "event", "queued", 0, 0, "", 1, "", 9),
    ("found:5", "5.mp4", "x5", "reconcile", "dead", 20, 21, "gone", 0, "", 0),
    ("found:6", "6.mp4", "x6", "reconcile", "done", 1, 1, "recognised", 1, "", 0),
    ("e7", "7.mp4", "x7", "event", "done", 1, 1, "no_face", 0, "", 0),
]


def tables_of(revision: str) -> list[Table]:
    """The tables that a revision creates."""
    newer = {each.name for each in vars(index_tables).values() if isinstance(each, Table)}
    return [
        table for table in metadata.sorted_tables if (table.name in newer) == (revision == "0002")
    ]


def statements(name: str, revision: str) -> list[str]:
    """The statements that create the tables and indexes of a revision."""
    tables = tables_of(revision)
    made = [CreateTable(table) for table in tables]
    indexes = [CreateIndex(index) for table in tables for index in indexes_of(table)]
    texts = [str(each.compile(dialect=DIALECTS[name])) for each in (*made, *indexes)]
    return [re.sub(r"[ \t]+\n", "\n", text).strip() for text in texts]


def indexes_of(table: Table) -> list[Index]:
    return sorted(table.indexes, key=lambda index: str(index.name))


def settings(path: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{path}")


def opened(path: Path) -> None:
    open_database(settings(path)).close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The file of an earlier version, with ROWS."""
    write_old_inbox(tmp_path / "old.sqlite3", ROWS)
    return tmp_path / "old.sqlite3"


@pytest.fixture
def db(old: Path) -> Iterator[sqlite3.Connection]:
    """The file after it was taken over."""
    opened(old)
    with closing(sqlite3.connect(old)) as connection:
        yield connection


def schema(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {" ".join(sql.split()) for (sql,) in found}


def all_rows(db: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    return db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


def test_the_list_of_revisions_is_that_of_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", "rollcall.database:migrations")
    config.set_main_option("path_separator", "os")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == REVISIONS


def test_taking_over_makes_the_same_tables_as_a_fresh_start(old: Path, tmp_path: Path) -> None:
    opened(old)
    opened(tmp_path / "fresh.sqlite3")
    assert schema(old) == schema(tmp_path / "fresh.sqlite3")
    assert len(schema(old)) > 20


def test_migrating_an_empty_database_makes_the_same_tables(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'empty'}")) as database:
        database.run(migrate)
    opened(tmp_path / "fresh")
    assert schema(tmp_path / "empty") == schema(tmp_path / "fresh")


def test_waiting_and_running_work_stays(db: sqlite3.Connection) -> None:
    query = "SELECT id, key, state, attempts, calls, code, stage, prefix, turn FROM work ORDER BY 1"
    assert db.execute(query).fetchall() == [
        (2, "a/2.mp4", "running", 2, 3, "busy", 1, "a/", 4),
        # It waited behind other work. It is due, and waits again if that work really exists.
        (3, "a/2.mp4", "queued", 0, 0, "", 0, "a/", 0),
        (4, "4.mp4", "queued", 0, 0, "", 1, "", 9),
    ]


def test_ended_work_moves_to_finished(db: sqlite3.Connection) -> None:
    query = "SELECT id, identity, key, etag, uploaded_s, state, attempts, calls, received_s,"
    query += " changed_s, code, traceparent FROM finished ORDER BY 1"
    assert db.execute(query).fetchall() == [
        (1, "e1", "a/1.mp4", "x1", 50, "done", 1, 1, 100, 200, "recognised", ""),
        (5, "found:5", "5.mp4", "x5", 50, "dead", 20, 21, 100, 200, "gone", ""),
        (6, "found:6", "6.mp4", "x6", 50, "done", 1, 1, 100, 200, "recognised", ""),
        (7, "e7", "7.mp4", "x7", 50, "done", 1, 1, 100, 200, "no_face", ""),
    ]


def test_events_uploads_counts_and_bad_events_are_known(db: sqlite3.Connection) -> None:
    assert all_rows(db, "seen_event") == sorted((row[0],) for row in ROWS)
    assert all_rows(db, "found_upload") == [
        (1, "videos", "5.mp4", "x5", 50, 100),
        (2, "videos", "6.mp4", "x6", 50, 100),
    ]
    assert sorted(all_rows(db, "tally")) == [
        (0, "bad", "", 1),
        (0, "dead", "gone", 1),
        (0, "done", "no_face", 1),
        (0, "done", "recognised", 2),
        (0, "queued", "", 2),
        (0, "running", "", 1),
    ]
    assert all_rows(db, "bad_event") == [(7, 100, "no event", b"\x00\xff")]
    assert all_rows(db, "alembic_version") == [(REVISIONS[-1],)]


def test_a_text_that_is_too_long_for_an_index_is_found_again(tmp_path: Path) -> None:
    """The queue compares digests of long identities and etags."""
    long_id, long_etag = "object:" + "ü" * 1000, "e" * 600
    write_old_inbox(
        tmp_path / "old",
        [(long_id, "a.mp4", long_etag, "reconcile", "done", 1, 1, "recognised", 0, "", 0)],
    )
    opened(tmp_path / "old")
    with closing(sqlite3.connect(tmp_path / "old")) as db:
        assert all_rows(db, "seen_event") == [(indexable(long_id),)]
        assert all_rows(db, "found_upload") == [
            (1, "videos", "a.mp4", indexable(long_etag), 50, 100)
        ]


def test_new_work_does_not_get_the_id_of_finished_work(db: sqlite3.Connection) -> None:
    columns = "identity, bucket, key, state, prefix"
    db.execute(f"INSERT INTO work ({columns}) VALUES ('new', 'videos', 'n.mp4', 'queued', '')")
    assert db.execute("SELECT id FROM work WHERE identity='new'").fetchone() == (8,)


def test_the_earliest_layout_is_taken_over_too(tmp_path: Path) -> None:
    path = tmp_path / "earliest.sqlite3"
    write_old_inbox(path, ROWS, earliest=True)
    opened(path)
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT id, state, stage, prefix, turn, due_s FROM work ORDER BY 1"
        assert db.execute(query).fetchall() == [
            (2, "running", 0, "a/", 0, 100),
            (3, "queued", 0, "a/", 0, 100),
            (4, "queued", 0, "", 0, 100),
        ]
        assert db.execute("SELECT count(*) FROM finished").fetchone() == (4,)


def test_an_empty_old_inbox_is_taken_over(tmp_path: Path) -> None:
    write_old_inbox(tmp_path / "old", [])
    opened(tmp_path / "old")
    opened(tmp_path / "old")
    with closing(sqlite3.connect(tmp_path / "old")) as db:
        assert all_rows(db, "tally") == [(0, "bad", "", 1)]
    assert schema(tmp_path / "old") > set()


def test_nothing_is_taken_over_while_a_trigger_uses_the_file(old: Path) -> None:
    before = schema(old)
    with own_file(old), pytest.raises(InboxUnavailable, match="stop that trigger, and run this"):
        opened(old)
    assert schema(old) == before


def previous(path: Path) -> Path:
    """A database of the version before the index."""
    with closing(Database(f"sqlite:///{path}")) as database:
        database.run(partial(migrate, revision="0001"))
    return path


def test_a_database_without_an_index_gets_one(tmp_path: Path) -> None:
    old = previous(tmp_path / "old")
    with closing(sqlite3.connect(old)) as db, db:
        db.execute("INSERT INTO seen_event VALUES ('x')")
    opened(old)
    opened(tmp_path / "fresh")
    assert schema(old) == schema(tmp_path / "fresh")
    with closing(sqlite3.connect(old)) as db:
        assert all_rows(db, "seen_event") == [("x",)]


def test_the_upgrade_knows_its_tables_again(tmp_path: Path) -> None:
    """They stay if a backup of the version before is restored (test_open_postgres.py)."""
    opened(tmp_path / "db")
    with closing(sqlite3.connect(tmp_path / "db")) as db, db:
        db.execute("UPDATE alembic_version SET version_num='0001'")
        db.execute("INSERT INTO change (who) VALUES ('eve')")
    opened(tmp_path / "db")
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        assert db.execute("SELECT who FROM change").fetchall() == [("eve",)]
        assert all_rows(db, "alembic_version") == [(REVISIONS[-1],)]


def test_a_new_table_that_another_program_has_is_named(tmp_path: Path) -> None:
    old = previous(tmp_path / "old")
    with closing(sqlite3.connect(old)) as db, db:
        db.execute("CREATE TABLE person (height INTEGER)")
    before = schema(old)
    with pytest.raises(SettingsError, match="has a table person of another program"):
        opened(old)
    assert schema(old) == before


CHILD = """
import os, signal, sys
from sqlalchemy import Engine, event
from rollcall.core.settings import Settings
from rollcall.database.open_database import open_database

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def before(connection, cursor, statement, *rest):
    if statement.startswith(sys.argv[2]):
        die()

if sys.argv[2] == "commit":
    event.listen(Engine, "commit", lambda connection: die())
event.listen(Engine, "before_cursor_execute", before)
open_database(Settings(database_url="sqlite:///" + sys.argv[1]))
print("not killed")
"""
MANY = 30_000


@pytest.mark.parametrize(
    "moment",
    [
        "ALTER TABLE bad_event",
        "CREATE TABLE tally",
        "INSERT INTO finished",
        "DROP TABLE old_work",
        "DROP TABLE old_bad_event",
        "CREATE INDEX finished_object",
        "INSERT INTO alembic_version",
        "commit",
    ],
)
def test_a_start_that_is_killed_loses_nothing(old: Path, moment: str) -> None:
    """So many rows that SQLite writes a part of the change to the disk before the commit."""
    with closing(sqlite3.connect(old)) as db, db:
        db.execute(
            "INSERT INTO work (identity, bucket, key, version_id, etag, event_name, uploaded_s,"
            " origin, state, due_s, received_s, changed_s, code) WITH RECURSIVE c(n) AS"
            f" (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < {MANY}) SELECT 'many ' || n,"
            " 'videos', n || '.mp4', '', '', '', 0, 'event', 'done', 0, 1, 1, 'many' FROM c"
        )
    before = schema(old)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.run([sys.executable, "-c", CHILD, str(old), moment], env=environ)
    assert child.returncode == -signal.SIGKILL
    assert schema(old) == before
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("SELECT count(*) FROM work").fetchone() == (MANY + len(ROWS),)
    opened(old)
    with closing(sqlite3.connect(old)) as db:
        assert db.execute("SELECT count(*) FROM finished").fetchone() == (MANY + 4,)
        assert db.execute("SELECT count FROM tally WHERE code='many'").fetchone() == (MANY,)
        assert db.execute("SELECT count(*) FROM work").fetchone() == (3,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_tables_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    opened(tmp_path / "new")
    with closing(sqlite3.connect(tmp_path / "new")) as db, db:
        db.execute("UPDATE alembic_version SET version_num='9999'")
    with pytest.raises(SettingsError, match=r"newer version .* revision 9999") as caught:
        opened(tmp_path / "new")
    assert str(tmp_path / "new") in str(caught.value)


def test_a_table_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other")) as db, db:
        db.execute("CREATE TABLE work (hours INTEGER)")
        db.execute("CREATE TABLE bad_event (name TEXT)")
    with pytest.raises(SettingsError, match="has a table bad_event of another program"):
        opened(tmp_path / "other")


def test_the_revisions_of_another_program_are_not_ours(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other")) as db, db:
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
        db.execute("INSERT INTO alembic_version VALUES ('0001')")
    with pytest.raises(SettingsError, match="has a table alembic_version of another program"):
        opened(tmp_path / "other")


def test_a_database_that_has_to_exist_is_not_created(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "folder" / "none"):
        with pytest.raises(SettingsError, match=r"there is no database .*set DATABASE_URL"):
            open_database(settings(path), must_exist=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").touch()
    with pytest.raises(SettingsError, match="there is no database"):
        open_database(settings(tmp_path / "empty"), must_exist=True)


def test_a_current_database_is_opened_without_alembic(tmp_path: Path) -> None:
    """Alembic is slow to import, and a start should be quick. The same is true of PostgreSQL."""
    child = (
        "import sys\nfrom rollcall.core.settings import Settings\n"
        "from rollcall.database.open_database import open_database\n"
        f"for _ in range(2): open_database(Settings(database_url='sqlite:///{tmp_path}/db')).close()\n"
        "print({'alembic', 'psycopg', 'sqlalchemy.dialects.postgresql'} & set(sys.modules))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", child], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_odd_paths_are_paths(tmp_path: Path) -> None:
    for name in ("a b", "100%20", "%2e", "ä#1", "file:x"):
        opened(tmp_path / name)
        assert schema(tmp_path / name)


if __name__ == "__main__":
    prepare_postgresql()
    for number in REVISIONS:
        for dialect in DIALECTS:
            file = VERSIONS / f"revision_{number}_{dialect}.sql"
            file.write_text(";\n\n".join(statements(dialect, number)) + ";\n", encoding="utf-8")
