"""The inbox's file: its tables, who may read it, and who may work on it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollcall.core.errors import InboxUnavailable

BUSY_TIMEOUT_S = 10

_TABLES = """
CREATE TABLE IF NOT EXISTS work (
    id INTEGER PRIMARY KEY,
    identity TEXT NOT NULL UNIQUE,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    version_id TEXT NOT NULL,
    etag TEXT NOT NULL,
    event_name TEXT NOT NULL,
    uploaded_s REAL NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('event', 'reconcile')),
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    calls INTEGER NOT NULL DEFAULT 0,
    due_s REAL NOT NULL,
    lease_until_s REAL NOT NULL DEFAULT 0,
    received_s REAL NOT NULL,
    changed_s REAL NOT NULL,
    code TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE IF NOT EXISTS bad_event (
    id INTEGER PRIMARY KEY,
    received_s REAL NOT NULL,
    reason TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
"""

_COLUMNS = {
    "stage": "INTEGER NOT NULL DEFAULT 0",
    "prefix": "TEXT NOT NULL DEFAULT ''",
    "turn": "INTEGER NOT NULL DEFAULT 0",
}
"""Columns that inboxes of earlier versions lack; `rollcall.queues.queue_order` explains them."""

_INDEXES = """
DROP INDEX IF EXISTS work_due;
DROP INDEX IF EXISTS work_object;
CREATE INDEX IF NOT EXISTS work_state ON work (state);
CREATE UNIQUE INDEX IF NOT EXISTS work_ahead ON work (bucket, key) WHERE stage=1;
CREATE INDEX IF NOT EXISTS work_new ON work (turn, id)
    WHERE state='queued' AND stage=1 AND attempts=0;
CREATE INDEX IF NOT EXISTS work_again ON work (turn, id)
    WHERE state='queued' AND stage=1 AND attempts>0;
CREATE INDEX IF NOT EXISTS work_new_prefix ON work (prefix, turn)
    WHERE state='queued' AND stage=1 AND attempts=0;
CREATE INDEX IF NOT EXISTS work_again_prefix ON work (prefix, turn)
    WHERE state='queued' AND stage=1 AND attempts>0;
CREATE INDEX IF NOT EXISTS work_resting ON work (due_s, id) WHERE state='queued' AND stage=0;
CREATE INDEX IF NOT EXISTS work_resting_since ON work (changed_s)
    WHERE state='queued' AND stage=0;
CREATE INDEX IF NOT EXISTS work_behind ON work (bucket, key, id)
    WHERE state='queued' AND stage=2;
CREATE INDEX IF NOT EXISTS work_running ON work (lease_until_s) WHERE state='running';
CREATE INDEX IF NOT EXISTS work_unsettled ON work (bucket, key)
    WHERE state IN ('queued', 'running');
CREATE INDEX IF NOT EXISTS work_dead ON work (bucket, key, etag, received_s)
    WHERE state='dead';
CREATE INDEX IF NOT EXISTS work_found ON work (bucket, key, etag, uploaded_s)
    WHERE origin='reconcile';
"""
"""Partial ones, so that the history of an object costs nothing once it is done."""


def open_database(path: Path) -> sqlite3.Connection:
    """The database, made when it is missing, readable by its owner alone: it holds names of videos.

    WAL and synchronous=FULL: what was committed is on disk. Raises InboxUnavailable.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            _bring_up_to_date(db)
        except sqlite3.Error:
            db.close()
            raise
        return db


def _bring_up_to_date(db: sqlite3.Connection) -> None:
    """Also when another process does the same just now."""
    db.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
    db.execute("BEGIN IMMEDIATE")
    present = {row[1] for row in db.execute("PRAGMA table_info(work)")}
    for name, kind in _COLUMNS.items():
        if name not in present:
            db.execute(f"ALTER TABLE work ADD COLUMN {name} {kind}")
    if "prefix" not in present:
        db.execute("UPDATE work SET prefix=substr(key, 1, instr(key, '/')) WHERE state='queued'")
    for statement in filter(None, map(str.strip, _INDEXES.split(";"))):
        db.execute(statement)
    db.execute("COMMIT")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns what the disk does into InboxUnavailable."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise InboxUnavailable(
            f"the inbox {str(path)!r} cannot be used ({error}); check the disk's space and rights"
        ) from error


class InboxOwner:
    """The right to work on an inbox, held by one process at a time.

    The kernel takes it back when that process dies, however it dies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._handle = -1

    def __enter__(self) -> InboxOwner:
        with disk_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._handle)
            raise InboxUnavailable(
                f"another trigger works on the inbox {str(self._path.with_suffix(''))!r};"
                " stop it, or give this one an INBOX of its own"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
