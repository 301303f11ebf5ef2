"""The file of the SQLite queue: its tables, its permissions, and its lock."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollcall.core.errors import InboxUnavailable

BUSY_TIMEOUT_S = 10
"""How long a transaction waits for another process. Apart from the trigger, only `rollcall replay`
writes to the file, and that takes milliseconds."""

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
"""Columns that files of earlier versions lack; `rollcall.queues.queue_order` explains them."""

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
"""Most are partial indexes, so that a long history of finished work does not slow down claims."""


def open_database(path: Path) -> sqlite3.Connection:
    """Open the database, and create or upgrade it if necessary.

    Raises InboxUnavailable.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names of videos are personal data, so only the owner may read the file. SQLite gives the
        # -wal and -shm files the same permissions.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            # In WAL mode, only synchronous=FULL writes each commit to the disk before it returns.
            # With NORMAL, a power failure could lose events that were acknowledged already.
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            _upgrade(db)
        except sqlite3.Error:
            db.close()
            raise
        return db


def _upgrade(db: sqlite3.Connection) -> None:
    """Create missing tables, columns and indexes. Two processes may do so at the same time."""
    db.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
    db.execute("BEGIN IMMEDIATE")
    present = {row[1] for row in db.execute("PRAGMA table_info(work)")}
    for name, declaration in _COLUMNS.items():
        if name not in present:
            db.execute(f"ALTER TABLE work ADD COLUMN {name} {declaration}")
    if "prefix" not in present:
        db.execute("UPDATE work SET prefix=substr(key, 1, instr(key, '/')) WHERE state='queued'")
    # Not executescript: it would commit the transaction first.
    for statement in filter(None, map(str.strip, _INDEXES.split(";"))):
        db.execute(statement)
    db.execute("COMMIT")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise errors of SQLite and of the disk as InboxUnavailable."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise InboxUnavailable(
            f"the inbox {str(path)!r} cannot be used ({error}); check free space and permissions"
        ) from error


@contextmanager
def own_file(path: Path) -> Iterator[None]:
    """Hold the lock file of an inbox. Raises InboxUnavailable if another process holds it.

    The kernel releases the lock when the process that holds it ends, even after SIGKILL.
    """
    lock_path = path.with_name(path.name + ".lock")
    with disk_errors(lock_path):
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InboxUnavailable(
                f"another trigger already uses the inbox {str(path)!r};"
                " stop it, or set DATABASE_URL to another file"
            ) from error
        yield
    finally:
        os.close(handle)
