"""The least that any trigger has to do in its database, written by hand, for comparison.

For each video there are three transactions on the trigger's own tables: add the event, claim the
work, and move it to the finished work. There is no HTTP, no order, and no count. On PostgreSQL,
several threads share the work.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import psycopg

THREADS = 4

_SEE = "INSERT INTO seen_event (identity) VALUES ({0})"
_ADD = (
    "INSERT INTO work (identity, bucket, key, prefix, state, stage, received_s)"
    " VALUES ({0}, 'b', {0}, '', 'queued', 1, 0) RETURNING id"
)
_CLAIM = "UPDATE work SET state = 'running', calls = calls + 1 WHERE id = {0} AND state = 'queued'"
_MOVE = (
    "INSERT INTO finished (id, identity, bucket, key, state) SELECT id, identity, bucket, key,"
    " 'done' FROM work WHERE id = {0}",
    "DELETE FROM work WHERE id = {0}",
)


def run(url: str, videos: int) -> tuple[float, float]:
    """Return the wall time and this process's CPU time in seconds."""
    shared = url.startswith("postgresql://")
    threads = THREADS if shared else 1
    one = _with_postgresql if shared else _with_sqlite
    names = [[f"bare-{n}-{number}" for number in range(videos // threads)] for n in range(threads)]
    running = [threading.Thread(target=one, args=[url, each]) for each in names]
    started, used_s = time.perf_counter(), time.process_time()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return time.perf_counter() - started, time.process_time() - used_s


def _with_sqlite(url: str, names: list[str]) -> None:
    connection = sqlite3.connect(Path(url.removeprefix("sqlite:///")), isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    for name in names:
        _one_video(name, "?", connection.execute, "BEGIN IMMEDIATE")
    connection.close()


def _with_postgresql(url: str, names: list[str]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for name in names:
            _one_video(name, "%s", connection.execute, "BEGIN")


def _one_video(name: str, mark: str, execute: Any, begin: str) -> None:
    add = _ADD.format(mark)
    execute(begin)
    execute(_SEE.format(mark), (name,))
    (row,) = execute(add, (name, name)).fetchall()
    execute("COMMIT")
    execute(_CLAIM.format(mark), row)
    execute(begin)
    for statement in _MOVE:
        execute(statement.format(mark), row)
    execute("COMMIT")
