"""Write the inbox of a version that had no database URL, as those versions wrote it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

EARLIEST = """
CREATE TABLE work (
    id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, bucket TEXT NOT NULL,
    key TEXT NOT NULL, version_id TEXT NOT NULL, etag TEXT NOT NULL, event_name TEXT NOT NULL,
    uploaded_s REAL NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('event', 'reconcile')),
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0, calls INTEGER NOT NULL DEFAULT 0, due_s REAL NOT NULL,
    lease_until_s REAL NOT NULL DEFAULT 0, received_s REAL NOT NULL, changed_s REAL NOT NULL,
    code TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE TABLE bad_event (
    id INTEGER PRIMARY KEY, received_s REAL NOT NULL, reason TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX work_due ON work (state, due_s);
CREATE INDEX work_object ON work (bucket, key);
"""

LAST = """
DROP INDEX work_due;
DROP INDEX work_object;
ALTER TABLE work ADD COLUMN stage INTEGER NOT NULL DEFAULT 0;
ALTER TABLE work ADD COLUMN prefix TEXT NOT NULL DEFAULT '';
ALTER TABLE work ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
CREATE INDEX work_state ON work (state);
CREATE UNIQUE INDEX work_ahead ON work (bucket, key) WHERE stage=1;
CREATE INDEX work_new ON work (turn, id) WHERE state='queued' AND stage=1 AND attempts=0;
CREATE INDEX work_again ON work (turn, id) WHERE state='queued' AND stage=1 AND attempts>0;
CREATE INDEX work_new_prefix ON work (prefix, turn)
    WHERE state='queued' AND stage=1 AND attempts=0;
CREATE INDEX work_again_prefix ON work (prefix, turn)
    WHERE state='queued' AND stage=1 AND attempts>0;
CREATE INDEX work_resting ON work (due_s, id) WHERE state='queued' AND stage=0;
CREATE INDEX work_resting_since ON work (changed_s) WHERE state='queued' AND stage=0;
CREATE INDEX work_behind ON work (bucket, key, id) WHERE state='queued' AND stage=2;
CREATE INDEX work_running ON work (lease_until_s) WHERE state='running';
CREATE INDEX work_unsettled ON work (bucket, key) WHERE state IN ('queued', 'running');
CREATE INDEX work_dead ON work (bucket, key, etag, received_s) WHERE state='dead';
CREATE INDEX work_found ON work (bucket, key, etag, uploaded_s) WHERE origin='reconcile';
"""

ROW = (
    "INSERT INTO work (identity, bucket, key, version_id, etag, event_name, uploaded_s, origin,"
    " state, attempts, calls, due_s, received_s, changed_s, code)"
    " VALUES (?, 'videos', ?, '', ?, '', 50, ?, ?, ?, ?, 100, 100, 200, ?)"
)


def write_old_inbox(
    path: Path, rows: Sequence[tuple[object, ...]], *, earliest: bool = False
) -> None:
    """Write a file with these rows, and one bad event.

    A row is (identity, key, etag, origin, state, attempts, calls, code). In the last layout, it
    also has a stage, a prefix and a turn.
    """
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(EARLIEST if earliest else EARLIEST + LAST)
        for *row, stage, prefix, turn in rows:
            db.execute(ROW, row)
            if not earliest:
                db.execute(
                    "UPDATE work SET stage=?, prefix=?, turn=? WHERE identity=?",
                    (stage, prefix, turn, row[0]),
                )
        db.execute("INSERT INTO bad_event VALUES (7, 100, 'no event', x'00ff')")
        db.commit()
