"""While a person is removed, no process corrects videos."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.databases import open_tables
from support.waiting import wait_until

from rollcall.core.errors import InboxUnavailable
from rollcall.database.database import Database
from rollcall.database.removal_lock import correcting, removing

HOLD = """
import sys, time
from rollcall.database.database import Database
from rollcall.database.removal_lock import removing
with removing(Database(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/inbox.sqlite3"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(open_tables(url)) as database:
        yield database


def may_correct(database: Database) -> bool:
    with correcting(database) as check:
        return check is not None


def test_corrections_run_beside_each_other_but_not_beside_a_removal(database: Database) -> None:
    with correcting(database) as check:
        assert check
        check()
        assert may_correct(database)
        refused = pytest.raises(InboxUnavailable, match="run this again later")
        with refused, removing(database, wait_s=0.2):
            raise AssertionError("a correction was running")
    with removing(database) as check:
        check()
        assert not may_correct(database)
        with pytest.raises(InboxUnavailable), removing(database, wait_s=0.2):
            raise AssertionError("another removal was running")
    assert may_correct(database)


def test_no_correction_begins_while_a_removal_waits(database: Database) -> None:
    done = threading.Event()

    def remove() -> None:
        with removing(database):
            done.set()

    thread = threading.Thread(target=remove)
    with correcting(database):
        thread.start()
        wait_until(lambda: not may_correct(database), "the removal that waits")
        assert not done.is_set()
    thread.join(60)
    assert done.is_set()


def test_a_killed_removal_keeps_nobody_out(database: Database, url: str) -> None:
    command = [sys.executable, "-c", HOLD, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        assert not may_correct(database)
        process.kill()
    wait_until(lambda: may_correct(database), "the end of the lock")


def test_a_lock_whose_connection_broke_is_noticed(request: pytest.FixtureRequest) -> None:
    url = str(request.getfixturevalue("postgres_url"))
    database, admin = open_tables(url), open_tables(url)
    with closing(database), closing(admin), removing(database) as check:
        with admin.transaction() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks"
                " WHERE locktype='advisory' AND granted AND pid<>pg_backend_pid()"
                " AND database=(SELECT oid FROM pg_database WHERE datname=current_database())"
            )
        wait_until(lambda: may_correct(admin), "the end of the lock")
        with pytest.raises(InboxUnavailable):
            check()
