"""The PostgreSQL server of the tests itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import text
from support.needs import REPOSITORY
from support.postgres import FreshDatabases, PostgresServer
from support.waiting import wait_until

from rollcall.database.database import Database


def test_each_test_has_a_database_of_its_own(postgres: FreshDatabases) -> None:
    with postgres.url() as one, postgres.url() as other:
        for url in (one, other):
            with closing(Database(url)) as database, database.transaction() as connection:
                assert connection.execute(text("SELECT count(*) FROM work")).scalar_one() == 0
                assert abs(database.now_s(connection) - time.time()) < 3600
                connection.execute(text("INSERT INTO seen_event VALUES ('x')"))


CHILD = f"""
import sys, time
sys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / "tests")!r}]
from support.postgres import running_postgres
with running_postgres() as server:
    print(server.folder, server.port, flush=True)
    time.sleep(600)
"""


def test_the_server_ends_when_the_tests_are_killed() -> None:
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        folder, port = child.stdout.readline().split()
        child.kill()
    lock_file = Path(folder) / "data" / "postmaster.pid"
    wait_until(lambda: not lock_file.exists(), "the server to end")
    assert not PostgresServer(Path(folder), port=int(port)).ready()
    shutil.rmtree(folder)
