"""The durable queue of work: one SQLite file, one process that works on it.

queued -> running (leased) -> done | dead. Whoever claims work gets it until its lease ends; when a
process dies, the next one takes its running work back at once. Everything that is acknowledged to
a sender has been through `fsync` first (WAL, synchronous=FULL).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from rollcall.core.errors import InboxUnavailable
from rollcall.core.types import ObjectInfo, VideoRef

BUSY_TIMEOUT_S = 10
KEEP_DONE_S = 30 * 86400
"""How long finished work is remembered, so that a late duplicate is known as one."""

KEEP_BAD_EVENTS = 1000
KEEP_BAD_BYTES = 65536
"""Of each bad event's body; enough to see what it was."""

SAME_UPLOAD_S = 2.0
"""An event and an object of the same etag whose times differ by less are one upload: the event is
written just before the object's time is set, and AWS lists whole seconds."""

_SCHEMA = """
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
CREATE INDEX IF NOT EXISTS work_due ON work (state, due_s);
CREATE INDEX IF NOT EXISTS work_object ON work (bucket, key);
CREATE TABLE IF NOT EXISTS bad_event (
    id INTEGER PRIMARY KEY,
    received_s REAL NOT NULL,
    reason TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Work:
    """One video to be recognised. Times are Unix times."""

    id: int
    bucket: str
    key: str
    version_id: str
    etag: str
    event_name: str
    origin: str
    state: str
    attempts: int
    calls: int
    received_s: float
    changed_s: float
    code: str
    message: str


_FIELDS = ", ".join(Work.__slots__)


@dataclass(frozen=True, slots=True)
class BadEventRecord:
    """An event that could not be read."""

    id: int
    received_s: float
    reason: str
    body: bytes


class Inbox:
    """Every method raises InboxUnavailable when the disk does not take or give."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        with _disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        self.path = path

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def add(self, videos: Iterable[VideoRef]) -> int:
        """Queues what is not known yet, in one transaction; how many that were."""
        with self._transaction() as db:
            return sum(self._add_event(db, video) for video in videos)

    def add_bad_event(self, body: bytes, reason: str) -> None:
        with self._transaction() as db:
            row = (self._clock(), reason, body[:KEEP_BAD_BYTES])
            db.execute("INSERT INTO bad_event (received_s, reason, body) VALUES (?, ?, ?)", row)
            newest = "SELECT id FROM bad_event ORDER BY id DESC LIMIT ?"
            db.execute(f"DELETE FROM bad_event WHERE id NOT IN ({newest})", (KEEP_BAD_EVENTS,))

    def add_missing(self, info: ObjectInfo) -> bool:
        """Queues an object without result, unless it waits already or is a dead letter."""
        with self._transaction() as db:
            settled = db.execute(
                "SELECT 1 FROM work WHERE bucket=? AND key=? AND (state IN ('queued', 'running')"
                " OR (state='dead' AND etag IN ('', ?)))",
                (info.bucket, info.key, info.etag),
            )
            if settled.fetchone():
                return False
            video = VideoRef(info.bucket, info.key, info.version_id, info.etag)
            return self._insert(db, video, f"found:{uuid4()}", info.modified_s, "reconcile")

    def claim(self, lease_s: float, furthest_s: float) -> Work | None:
        """The work that is due longest, leased; None when nothing is due.

        Two calls for one object never run at once, so an older result cannot overwrite a newer
        one. Work that is due further ahead than `furthest_s` counts as due: nobody plans that far,
        so the clock was set back.
        """
        now = self._clock()
        with self._transaction() as db:
            row = db.execute(
                "SELECT id FROM work AS w WHERE state='queued' AND (due_s <= ? OR due_s > ?)"
                " AND NOT EXISTS (SELECT 1 FROM work AS r WHERE r.bucket=w.bucket AND r.key=w.key"
                " AND r.state='running') ORDER BY due_s, id LIMIT 1",
                (now, now + furthest_s),
            ).fetchone()
            if row is None:
                return None
            found = db.execute(
                "UPDATE work SET state='running', attempts=attempts+1, calls=calls+1,"
                f" lease_until_s=?, changed_s=? WHERE id=? RETURNING {_FIELDS}",
                (now + lease_s, now, row[0]),
            )
            return Work(*found.fetchone())

    def finish(self, work: Work, code: str) -> None:
        self._settle(work, "done", code, "")

    def bury(self, work: Work, code: str, message: str) -> None:
        """Makes it a dead letter."""
        self._settle(work, "dead", code, message)

    def retry(
        self, work: Work, delay_s: float, code: str, message: str, *, counts: bool = True
    ) -> None:
        """Queues it again; one that does not count leaves the attempts as they were."""
        now = self._clock()
        with self._transaction() as db:
            db.execute(
                "UPDATE work SET state='queued', due_s=?, changed_s=?, code=?, message=?,"
                " attempts=attempts-? WHERE id=? AND state='running'",
                (now + delay_s, now, code, message, 0 if counts else 1, work.id),
            )

    def take_back(self, *, everything: bool = False) -> int:
        """Queues running work whose lease has ended, or all of it when its process is dead."""
        now = self._clock()
        with self._transaction() as db:
            return db.execute(
                "UPDATE work SET state='queued', due_s=?, changed_s=? WHERE state='running'"
                " AND (? OR lease_until_s < ?)",
                (now, now, everything, now),
            ).rowcount

    def replay(self, ids: Sequence[int] = ()) -> int:
        """Puts dead letters back, all or those of the given ids; how many."""
        now = self._clock()
        chosen = f" AND id IN ({', '.join('?' * len(ids))})" if ids else ""
        with self._transaction() as db:
            return db.execute(
                "UPDATE work SET state='queued', attempts=0, due_s=?, changed_s=?"
                f" WHERE state='dead'{chosen}",
                (now, now, *ids),
            ).rowcount

    def prune(self) -> int:
        """Forgets work that was done long ago; how much."""
        with self._transaction() as db:
            old = (self._clock() - KEEP_DONE_S,)
            return db.execute("DELETE FROM work WHERE state='done' AND changed_s < ?", old).rowcount

    def counts(self) -> dict[str, int]:
        """How much work is in each state, and `bad` events."""
        states = dict.fromkeys(("queued", "running", "done", "dead"), 0)
        with self._reading() as db:
            states |= dict(db.execute("SELECT state, count(*) FROM work GROUP BY state"))
            states["bad"] = db.execute("SELECT count(*) FROM bad_event").fetchone()[0]
        return states

    def latest(self, limit: int, state: str = "") -> list[Work]:
        """Work that changed last, newest first."""
        chosen, given = (" WHERE state=?", (state,)) if state else ("", ())
        query = f"SELECT {_FIELDS} FROM work{chosen} ORDER BY changed_s DESC, id DESC LIMIT ?"
        with self._reading() as db:
            return [Work(*row) for row in db.execute(query, (*given, limit))]

    def bad_events(self, limit: int) -> list[BadEventRecord]:
        query = "SELECT id, received_s, reason, body FROM bad_event ORDER BY id DESC LIMIT ?"
        with self._reading() as db:
            return [BadEventRecord(*row) for row in db.execute(query, (limit,))]

    def unsettled(self, bucket: str) -> set[str]:
        """Keys that are queued or running."""
        query = "SELECT key FROM work WHERE bucket=? AND state IN ('queued', 'running')"
        with self._reading() as db:
            return {key for (key,) in db.execute(query, (bucket,))}

    def _add_event(self, db: sqlite3.Connection, video: VideoRef) -> bool:
        uploaded_s = _unix_time(video.event_time)
        if self._was_reconciled(db, video, uploaded_s):
            return False
        return self._insert(db, video, video.identity(), uploaded_s, "event")

    def _was_reconciled(self, db: sqlite3.Connection, video: VideoRef, uploaded_s: float) -> bool:
        """Whether the reconciler has found this very upload before its event came."""
        found = db.execute(
            "SELECT 1 FROM work WHERE bucket=? AND key=? AND etag=? AND origin='reconcile'"
            " AND abs(uploaded_s - ?) < ?",
            (video.bucket, video.key, video.etag, uploaded_s, SAME_UPLOAD_S),
        )
        return bool(video.etag) and found.fetchone() is not None

    def _insert(
        self, db: sqlite3.Connection, video: VideoRef, identity: str, uploaded_s: float, origin: str
    ) -> bool:
        now = self._clock()
        added = db.execute(
            "INSERT INTO work (identity, bucket, key, version_id, etag, event_name, uploaded_s,"
            " origin, state, due_s, received_s, changed_s)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?) ON CONFLICT (identity) DO NOTHING",
            (
                identity,
                video.bucket,
                video.key,
                video.version_id,
                video.etag,
                video.event_name,
                uploaded_s,
                origin,
                now,
                now,
                now,
            ),
        )
        return added.rowcount == 1

    def _settle(self, work: Work, state: str, code: str, message: str) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE work SET state=?, changed_s=?, code=?, message=? WHERE id=?",
                (state, self._clock(), code, message, work.id),
            )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _disk_errors(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _disk_errors(self.path):
            yield self._db


class InboxOwner:
    """The right to work on an inbox, held by one process at a time.

    The kernel takes it back when that process dies, however it dies.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._handle = -1

    def __enter__(self) -> InboxOwner:
        with _disk_errors(self._path):
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


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise InboxUnavailable(
            f"the inbox {str(path)!r} cannot be used ({error}); check the disk's space and rights"
        ) from error


def _unix_time(event_time: str) -> float:
    """0 for a time that is missing or unreadable."""
    try:
        return datetime.fromisoformat(event_time).timestamp()
    except ValueError:
        return 0.0
