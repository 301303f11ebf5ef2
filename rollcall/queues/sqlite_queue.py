"""The durable work queue in an SQLite file, which users call the inbox.

Every change is on the disk before a method returns (WAL, synchronous=FULL), because the trigger
acknowledges an event as soon as it is queued. Only one trigger at a time may use the file
(docs/decisions/0003).
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.core.work import WORK_STATES, BadEventRecord, Work
from rollcall.database.steady_clock import SteadyClock
from rollcall.queues import sqlite_rows
from rollcall.queues.queue_order import FairOrder, prefix_of
from rollcall.queues.queue_rules import (
    FOUND_PERIOD_S,
    KEEP_BAD_BYTES,
    KEEP_BAD_EVENTS,
    KEEP_DONE_S,
    MAX_FOUND,
    NO_RESULT,
    NO_RESULT_CODE,
    NewWork,
    same_upload_times,
    work_for_event,
    work_for_object,
)
from rollcall.queues.sqlite_file import disk_errors, open_database, own_file

_FIELDS = ", ".join(Work.__slots__)

_STILL_CLAIMED = "id=? AND calls=? AND state IN ('running', 'queued')"
"""Matches no row if the work was claimed again, because each claim increases `calls`. If the lease
expired, but nobody has claimed the work since, the work is queued and still matches."""


class SqliteQueue:
    """A WorkQueue in one file. Opening it creates the file if it is missing."""

    def __init__(self, path: Path, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or SteadyClock()
        # All threads of the trigger share one connection: SQLite has one writer at a time anyway.
        self._lock = threading.RLock()
        self._order = FairOrder(self._clock)
        self._db = open_database(path)
        self.path = path

    def own(self) -> AbstractContextManager[None]:
        return own_file(self.path)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def add(self, videos: Iterable[VideoRef]) -> int:
        with self._transaction() as db:
            return sum(self._add_event(db, work_for_event(video)) for video in videos)

    def add_bad_event(self, body: bytes, reason: str) -> None:
        with self._transaction() as db:
            row = (self._clock(), reason, body[:KEEP_BAD_BYTES])
            db.execute("INSERT INTO bad_event (received_s, reason, body) VALUES (?, ?, ?)", row)
            newest = "SELECT id FROM bad_event ORDER BY id DESC LIMIT ?"
            db.execute(f"DELETE FROM bad_event WHERE id NOT IN ({newest})", (KEEP_BAD_EVENTS,))

    def add_missing(self, info: ObjectInfo) -> bool:
        bucket_key = (info.bucket, info.key)
        with self._transaction() as db:
            # This is `queue_rules.is_of_upload` in SQL, because a key may have many dead letters.
            settled = db.execute(
                "SELECT 1 FROM work INDEXED BY work_unsettled WHERE bucket=? AND key=?"
                " AND state IN ('queued', 'running') UNION ALL"
                " SELECT 1 FROM work INDEXED BY work_dead WHERE bucket=? AND key=?"
                " AND state='dead' AND etag=? UNION ALL"
                " SELECT 1 FROM work INDEXED BY work_dead WHERE bucket=? AND key=?"
                " AND state='dead' AND etag='' AND received_s >= ? LIMIT 1",
                (*bucket_key, *bucket_key, info.etag, *bucket_key, info.modified_s),
            )
            if settled.fetchone():
                return False
            new = work_for_object(info)
            self._insert(db, new)
            if self._times_found(db, info) > MAX_FOUND:
                db.execute(
                    "UPDATE work SET state='dead', stage=0, code=?, message=? WHERE identity=?",
                    (NO_RESULT_CODE, NO_RESULT, new.identity),
                )
            return True

    def claim(self, lease_s: float) -> Work | None:
        now_s = self._clock()
        with self._transaction() as db:
            sqlite_rows.line_up_due(db, now_s)
            running = sqlite_rows.running_prefixes(db)
            chosen = self._order.choose(sqlite_rows.candidates(db), running)
            if chosen is None:
                return None
            claimed = db.execute(
                "UPDATE work SET state='running', attempts=attempts+1, calls=calls+1,"
                f" lease_until_s=?, changed_s=? WHERE id=? RETURNING {_FIELDS}",
                (now_s + lease_s, now_s, chosen.id),
            )
            return Work(*claimed.fetchone())

    def finish(self, work: Work, code: str) -> None:
        self._settle(work, "done", code, "")

    def bury(self, work: Work, code: str, message: str) -> None:
        self._settle(work, "dead", code, message)

    def retry(
        self, work: Work, delay_s: float, code: str, message: str, *, counts: bool = True
    ) -> None:
        now_s = self._clock()
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE work SET state='queued', stage=0, due_s=?, changed_s=?, code=?, message=?,"
                f" attempts=attempts-? WHERE {_STILL_CLAIMED}",
                (now_s + delay_s, now_s, code, message, 0 if counts else 1, work.id, work.calls),
            )
            if changed.rowcount:
                self._end_call(db, work)

    def requeue_expired(self, *, everything: bool = False) -> int:
        now_s = self._clock()
        with self._transaction() as db:
            if everything:  # the trigger starts, so an earlier version may have written the file
                sqlite_rows.repair_stages(db, now_s)
            return db.execute(
                "UPDATE work INDEXED BY work_running SET state='queued', stage=0, due_s=?,"
                " changed_s=? WHERE state='running' AND lease_until_s < ?",
                (now_s, now_s, math.inf if everything else now_s),
            ).rowcount

    def result_found(self, info: ObjectInfo) -> int:
        with self._transaction() as db:
            return db.execute(
                "UPDATE work SET state='done', code='result_found', message='', changed_s=?"
                " WHERE state='dead' AND bucket=? AND key=? AND etag=?",
                (self._clock(), info.bucket, info.key, info.etag),
            ).rowcount

    def replay(self, ids: Sequence[int] = ()) -> int:
        now_s = self._clock()
        # The attempts start again at 0, but `calls` keeps growing, because it distinguishes claims.
        condition = f" AND id IN ({', '.join('?' * len(ids))})" if ids else ""
        with self._transaction() as db:
            return db.execute(
                "UPDATE work SET state='queued', stage=0, attempts=0, due_s=?, changed_s=?"
                f" WHERE state='dead'{condition}",
                (now_s, now_s, *ids),
            ).rowcount

    def prune(self) -> int:
        with self._transaction() as db:
            before = (self._clock() - KEEP_DONE_S,)
            db.execute("DELETE FROM bad_event WHERE received_s < ?", before)
            done = db.execute("DELETE FROM work WHERE state='done' AND changed_s < ?", before)
            return done.rowcount

    def counts(self) -> dict[str, int]:
        counts = dict.fromkeys(WORK_STATES, 0)
        with self._reading() as db:
            counts |= dict(db.execute("SELECT state, count(*) FROM work GROUP BY state"))
            counts["bad"] = db.execute("SELECT count(*) FROM bad_event").fetchone()[0]
        return counts

    def latest(self, limit: int, state: str = "") -> list[Work]:
        condition, values = (" WHERE state=?", (state,)) if state else ("", ())
        query = f"SELECT {_FIELDS} FROM work{condition} ORDER BY changed_s DESC, id DESC LIMIT ?"
        with self._reading() as db:
            return [Work(*row) for row in db.execute(query, (*values, limit))]

    def bad_events(self, limit: int) -> list[BadEventRecord]:
        query = "SELECT id, received_s, reason, body FROM bad_event ORDER BY id DESC LIMIT ?"
        with self._reading() as db:
            return [BadEventRecord(*row) for row in db.execute(query, (limit,))]

    def unsettled(self, bucket: str) -> set[str]:
        return self._keys(bucket, "queued", "running")

    def dead(self, bucket: str) -> set[str]:
        return self._keys(bucket, "dead", "dead")

    def _keys(self, bucket: str, *states: str) -> set[str]:
        query = "SELECT key FROM work WHERE bucket=? AND state IN (?, ?)"
        with self._reading() as db:
            return {key for (key,) in db.execute(query, (bucket, *states))}

    def _add_event(self, db: sqlite3.Connection, new: NewWork) -> bool:
        return not self._was_reconciled(db, new) and self._insert(db, new)

    def _was_reconciled(self, db: sqlite3.Connection, event: NewWork) -> bool:
        """Whether the reconciler found this upload before its event arrived."""
        times = same_upload_times(event)
        if times is None:
            return False
        video = event.video
        found = db.execute(
            "SELECT 1 FROM work INDEXED BY work_found WHERE bucket=? AND key=? AND etag=?"
            " AND origin='reconcile' AND uploaded_s > ? AND uploaded_s < ?",
            (video.bucket, video.key, video.etag, *times),
        )
        return found.fetchone() is not None

    def _times_found(self, db: sqlite3.Connection, info: ObjectInfo) -> int:
        """How often the reconciler found this upload within FOUND_PERIOD_S."""
        found = db.execute(
            "SELECT count(*) FROM work INDEXED BY work_found WHERE bucket=? AND key=? AND etag=?"
            " AND origin='reconcile' AND received_s > ?",
            (info.bucket, info.key, info.etag, self._clock() - FOUND_PERIOD_S),
        )
        count: int = found.fetchone()[0]
        return count

    def _insert(self, db: sqlite3.Connection, new: NewWork) -> bool:
        """Insert the work, unless its identity is known; return whether it was inserted."""
        now_s, video = self._clock(), new.video
        stage, turn = sqlite_rows.stage_and_turn(db, video.bucket, video.key)
        row = {
            "identity": new.identity,
            "bucket": video.bucket,
            "key": video.key,
            "version_id": video.version_id,
            "etag": video.etag,
            "event_name": video.event_name,
            "uploaded_s": new.uploaded_s,
            "origin": new.origin,
            "state": "queued",
            "due_s": now_s,
            "received_s": now_s,
            "changed_s": now_s,
            "stage": stage,
            "prefix": prefix_of(video.key),
            "turn": turn,
        }
        names, markers = ", ".join(row), ", ".join("?" * len(row))
        inserted = db.execute(
            f"INSERT INTO work ({names}) VALUES ({markers}) ON CONFLICT (identity) DO NOTHING",
            tuple(row.values()),
        )
        return inserted.rowcount == 1

    def _settle(self, work: Work, state: str, code: str, message: str) -> None:
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE work SET state=?, stage=0, changed_s=?, code=?, message=?"
                f" WHERE {_STILL_CLAIMED}",
                (state, self._clock(), code, message, work.id, work.calls),
            )
            if changed.rowcount:
                self._end_call(db, work)

    def _end_call(self, db: sqlite3.Connection, work: Work) -> None:
        """Count the call's time, and let the next work for the same object proceed."""
        now_s = self._clock()
        self._order.add_call(prefix_of(work.key), now_s - work.changed_s)
        sqlite_rows.release_next(db, work.bucket, work.key, now_s)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, disk_errors(self.path):
            # IMMEDIATE waits for the write lock. A transaction that began with a read would fail at
            # its first write, without waiting, if another process had written since the read.
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
        with self._lock, disk_errors(self.path):
            yield self._db
