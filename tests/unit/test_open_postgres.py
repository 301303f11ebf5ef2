"""Opening a PostgreSQL database: creating its tables, once, and messages without passwords."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import psycopg
import pytest
from sqlalchemy import text
from support.postgres import FreshDatabases
from support.waiting import wait_until

from devstack.processes import free_port
from rollcall.core.errors import InboxUnavailable, SettingsError
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.database.open_database import NEWEST, migrate, open_database


@pytest.fixture
def empty(postgres: FreshDatabases) -> Iterator[str]:
    """The URL of a database without tables."""
    with postgres.url("template1") as url:
        yield url


def opened(url: str, *, must_exist: bool = False) -> None:
    open_database(Settings(database_url=url), must_exist=must_exist).close()


def value(url: str, query: str) -> object:
    with closing(Database(url)) as database, database.reading() as connection:
        return connection.execute(text(query)).scalar_one()


def schema(postgres: FreshDatabases, url: str) -> str:
    dump = postgres.server.program("pg_dump", "--schema-only", "--no-owner", url)
    # Newer versions write a random key into each dump.
    return "\n".join(line for line in dump.splitlines() if "restrict" not in line)


def test_the_tables_are_created_once(empty: str) -> None:
    opened(empty)
    with closing(Database(empty)) as database, database.transaction() as connection:
        connection.execute(text("INSERT INTO seen_event VALUES ('x')"))
    opened(empty)
    assert value(empty, "SELECT count(*) FROM seen_event") == 1
    assert value(empty, "SELECT version_num FROM alembic_version") == NEWEST


def test_migrating_an_empty_database_makes_the_same_tables(
    postgres: FreshDatabases, empty: str
) -> None:
    with closing(Database(empty)) as database:
        database.run(migrate)
    with postgres.url("template1") as other:
        opened(other)
        assert schema(postgres, empty) == schema(postgres, other)
    assert "CREATE UNIQUE INDEX work_ahead" in schema(postgres, empty)


def test_a_database_without_an_index_gets_one_while_its_triggers_work(empty: str) -> None:
    with closing(Database(empty)) as database:
        database.run(partial(migrate, revision="0001"))
    with psycopg.connect(empty) as trigger:
        trigger.execute("INSERT INTO seen_event VALUES ('x')")
        trigger.execute("SELECT count(*) FROM work")
        opened(empty)  # the transaction of the trigger stays open
    assert value(empty, "SELECT version_num FROM alembic_version") == NEWEST
    assert value(empty, "SELECT count(*) FROM seen_event") == 1
    assert value(empty, "SELECT count(*) FROM video") == 0


CHILD = """
import sys
from rollcall.core.settings import Settings
from rollcall.database.open_database import open_database

sys.stdin.readline()
open_database(Settings(database_url=sys.argv[1])).close()
"""


def test_processes_that_start_at_the_same_time_do_not_collide(empty: str) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", CHILD, empty]
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen(command, stdin=pipe, stderr=pipe, env=environ, text=True) for _ in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("start\n")
        child.stdin.flush()
    assert [child.communicate()[1] for child in children] == [""] * 4
    assert value(empty, "SELECT count(*) FROM alembic_version") == 1


def test_a_process_waits_for_another_that_creates_the_tables(empty: str) -> None:
    """Also if that takes longer than lock_timeout, which ends the waiting of other statements."""
    url = f"{empty}?options=-c%20lock_timeout%3D2s%20-c%20statement_timeout%3D2s"
    waits = "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with psycopg.connect(empty) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(x'726F6C6C63616C6C'::bigint)")
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, url], stdin=subprocess.PIPE, env=environ, text=True
        )
        assert child.stdin is not None
        child.stdin.write("start\n")
        child.stdin.close()
        wait_until(lambda: value(empty, waits) == 1, "the process to wait for the lock")
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(4)
    assert child.wait(120) == 0
    assert value(empty, "SELECT version_num FROM alembic_version") == NEWEST


def test_a_database_that_has_to_have_tables_is_not_filled(empty: str) -> None:
    with pytest.raises(SettingsError, match="there is no database"):
        opened(empty, must_exist=True)
    assert value(empty, "SELECT count(*) FROM pg_tables WHERE schemaname='public'") == 0


def test_tables_of_others_and_of_newer_versions_are_refused(empty: str) -> None:
    with closing(Database(empty)) as database, database.transaction() as connection:
        connection.execute(text("CREATE TABLE notice (text text)"))
    with pytest.raises(SettingsError, match="has a table notice of another program"):
        opened(empty)
    with closing(Database(empty)) as database, database.transaction() as connection:
        connection.execute(text("DROP TABLE notice"))
    opened(empty)
    with closing(Database(empty)) as database, database.transaction() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num='9999'"))
    with pytest.raises(SettingsError, match="newer version"):
        opened(empty)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t@127.0.0.1:{port}/db",
        "postgresql://127.0.0.1:{port}/db?user=u&password=s3cr3t",
        "postgresql://u:s3%2Fcr3t-s3cr3t@127.0.0.1:{port},127.0.0.1:{port}/db",
    ],
)
def test_a_server_that_does_not_answer_is_named_without_the_password(url: str) -> None:
    with pytest.raises(InboxUnavailable, match="postgresql://127") as caught:
        opened(url.format(port=free_port()))
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cr3t%zz@host/db",
        "postgresql://u:p@host/db?no_such_parameter=s3cr3t",
        "postgresql://u:p@[::1/s3cr3t",
        "postgresql://u:p@s3cr3t@127.0.0.1/db",
    ],
)
def test_a_url_that_libpq_cannot_parse_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL cannot be parsed") as caught:
        opened(url)
    assert "s3cr3t" not in str(caught.value)
