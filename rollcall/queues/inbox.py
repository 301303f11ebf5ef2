"""The durable queue of work: one SQLite file, one process that works on it.

queued -> running (leased) -> done | dead. Whoever claims work gets it until its lease ends; when a
process dies, the next one takes its running work back at once. Everything that is acknowledged to
a sender has been through `fsync` first (WAL, synchronous=FULL).
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.core.work_ids import work_id_of
from rollcall.queues import queue_rows
from rollcall.queues.inbox_file import disk_errors, open_database
from rollcall.queues.queue_order import FairOrder, prefix_of
from rollcall.queues.steady_clock import SteadyClock

KEEP_DONE_S = 30 * 86400
"""How long finished work is remembered, so that a late duplicate is known as one."""

MAX_FOUND = 3
"""How often a day the same upload may be found without result; then it is a dead letter."""

NO_RESULT = (
    "the video was recognised several times, but OUTPUT_BUCKET has no result; check that function"
    " and trigger use the same OUTPUT_BUCKET"
)

KEEP_BAD_EVENTS = 1000
KEEP_BAD_BYTES = 65536
"""Of each bad event's body; enough to see what it was."""

SAME_UPLOAD_S = 2.0
"""An event and an object of the same etag whose times differ by less are one upload: the event is
written just before the object's time is set, and AWS lists whole seconds."""


@dataclass(frozen=True, slots=True)
class Work:
    """One video to be recognised. Times are Unix times."""

    id: int
    identity: str
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

    @property
    def work_id(self) -> str:
        """The same in each call for this work, and in the function's log and result."""
        return work_id_of(self.identity)


_FIELDS = ", ".join(Work.__slots__)

_STILL_MINE = "id=? AND calls=? AND state IN ('running', 'queued')"
"""Each claim counts a call, so what was claimed again is no longer the first claimant's."""


@dataclass(frozen=True, slots=True)
class BadEventRecord:
    """An event that could not be read."""

    id: int
    received_s: float
    reason: str
    body: bytes


class Inbox:
    """Every method raises InboxUnavailable when the disk does not take or give."""

    def __init__(self, path: Path, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or SteadyClock()
        self._lock = threading.RLock()
        self._order = FairOrder(self._clock)
        self._db = open_database(path)
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
        """Queues an object without result, unless it waits already or is a dead letter.

        A dead letter without etag stands for the uploads before its event, and not for later ones.
        """
        of_object = (info.bucket, info.key)
        with self._transaction() as db:
            settled = db.execute(
                "SELECT 1 FROM work INDEXED BY work_unsettled WHERE bucket=? AND key=?"
                " AND state IN ('queued', 'running') UNION ALL"
                " SELECT 1 FROM work INDEXED BY work_dead WHERE bucket=? AND key=?"
                " AND state='dead' AND etag=? UNION ALL"
                " SELECT 1 FROM work INDEXED BY work_dead WHERE bucket=? AND key=?"
                " AND state='dead' AND etag='' AND received_s >= ? LIMIT 1",
                (*of_object, *of_object, info.etag, *of_object, info.modified_s),
            )
            if settled.fetchone():
                return False
            video = VideoRef(info.bucket, info.key, info.version_id, info.etag)
            identity = f"found:{uuid4()}"
            self._insert(db, video, identity, info.modified_s, "reconcile")
            if self._found_before(db, info) > MAX_FOUND:
                db.execute(
                    "UPDATE work SET state='dead', stage=0, code='no_result', message=?"
                    " WHERE identity=?",
                    (NO_RESULT, identity),
                )
            return True

    def _found_before(self, db: sqlite3.Connection, info: ObjectInfo) -> int:
        """How often this very upload was found without result within a day."""
        found = db.execute(
            "SELECT count(*) FROM work INDEXED BY work_found WHERE bucket=? AND key=? AND etag=?"
            " AND origin='reconcile' AND received_s > ?",
            (info.bucket, info.key, info.etag, self._clock() - 86400),
        )
        count: int = found.fetchone()[0]
        return count

    def claim(self, lease_s: float) -> Work | None:
        """The next work, leased; None when nothing is due. `queue_order` says which is next.

        Two calls for one object never run at once, so an older result cannot overwrite a newer
        one.
        """
        now = self._clock()
        with self._transaction() as db:
            queue_rows.queue_due(db, now)
            running = queue_rows.running_prefixes(db)
            chosen = self._order.choose(queue_rows.candidates(db), running)
            if chosen is None:
                return None
            found = db.execute(
                "UPDATE work SET state='running', attempts=attempts+1, calls=calls+1,"
                f" lease_until_s=?, changed_s=? WHERE id=? RETURNING {_FIELDS}",
                (now + lease_s, now, chosen.id),
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
            changed = db.execute(
                "UPDATE work SET state='queued', stage=0, due_s=?, changed_s=?, code=?, message=?,"
                f" attempts=attempts-? WHERE {_STILL_MINE}",
                (now + delay_s, now, code, message, 0 if counts else 1, work.id, work.calls),
            )
            self._ended(db, work, changed.rowcount)

    def requeue_expired(self, *, everything: bool = False) -> int:
        """Queues running work whose lease has ended, or all of it when its process is dead."""
        now = self._clock()
        with self._transaction() as db:
            if everything:
                queue_rows.release_all(db, now)
            return db.execute(
                "UPDATE work INDEXED BY work_running SET state='queued', stage=0, due_s=?,"
                " changed_s=? WHERE state='running' AND lease_until_s < ?",
                (now, now, math.inf if everything else now),
            ).rowcount

    def result_found(self, info: ObjectInfo) -> int:
        """Ends what was given up for these very bytes, since their result is there; how many.

        The function's answers were lost then, and not its work.
        """
        with self._transaction() as db:
            return db.execute(
                "UPDATE work SET state='done', code='result_found', message='', changed_s=?"
                " WHERE state='dead' AND bucket=? AND key=? AND etag=?",
                (self._clock(), info.bucket, info.key, info.etag),
            ).rowcount

    def replay(self, ids: Sequence[int] = ()) -> int:
        """Puts dead letters back, all or those of the given ids; how many."""
        now = self._clock()
        chosen = f" AND id IN ({', '.join('?' * len(ids))})" if ids else ""
        with self._transaction() as db:
            return db.execute(
                "UPDATE work SET state='queued', stage=0, attempts=0, due_s=?, changed_s=?"
                f" WHERE state='dead'{chosen}",
                (now, now, *ids),
            ).rowcount

    def prune(self) -> int:
        """Forgets work that was done long ago, how much, and bad events of that time."""
        with self._transaction() as db:
            old = (self._clock() - KEEP_DONE_S,)
            db.execute("DELETE FROM bad_event WHERE received_s < ?", old)
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
        return self._keys(bucket, "queued", "running")

    def dead(self, bucket: str) -> set[str]:
        """Keys of dead letters."""
        return self._keys(bucket, "dead", "dead")

    def _keys(self, bucket: str, *states: str) -> set[str]:
        query = "SELECT key FROM work WHERE bucket=? AND state IN (?, ?)"
        with self._reading() as db:
            return {key for (key,) in db.execute(query, (bucket, *states))}

    def _add_event(self, db: sqlite3.Connection, video: VideoRef) -> bool:
        uploaded_s = _unix_time(video.event_time)
        if self._was_reconciled(db, video, uploaded_s):
            return False
        return self._insert(db, video, video.identity(), uploaded_s, "event")

    def _was_reconciled(self, db: sqlite3.Connection, video: VideoRef, uploaded_s: float) -> bool:
        """Whether the reconciler has found this very upload before its event came."""
        found = db.execute(
            "SELECT 1 FROM work INDEXED BY work_found"
            " WHERE bucket=? AND key=? AND etag=? AND origin='reconcile'"
            " AND uploaded_s > ? AND uploaded_s < ?",
            (
                video.bucket,
                video.key,
                video.etag,
                uploaded_s - SAME_UPLOAD_S,
                uploaded_s + SAME_UPLOAD_S,
            ),
        )
        return bool(video.etag) and found.fetchone() is not None

    def _insert(
        self, db: sqlite3.Connection, video: VideoRef, identity: str, uploaded_s: float, origin: str
    ) -> bool:
        now = self._clock()
        stage, turn = queue_rows.place(db, video.bucket, video.key)
        added = db.execute(
            "INSERT INTO work (identity, bucket, key, version_id, etag, event_name, uploaded_s,"
            " origin, state, due_s, received_s, changed_s, stage, prefix, turn)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (identity) DO NOTHING",
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
                stage,
                prefix_of(video.key),
                turn,
            ),
        )
        return added.rowcount == 1

    def _settle(self, work: Work, state: str, code: str, message: str) -> None:
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE work SET state=?, stage=0, changed_s=?, code=?, message=?"
                f" WHERE {_STILL_MINE}",
                (state, self._clock(), code, message, work.id, work.calls),
            )
            self._ended(db, work, changed.rowcount)

    def _ended(self, db: sqlite3.Connection, work: Work, changed: int) -> None:
        """After a call, unless its work was claimed again meanwhile."""
        if changed:
            self._order.used(prefix_of(work.key), self._clock() - work.changed_s)
            queue_rows.release(db, work.bucket, work.key, self._clock())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, disk_errors(self.path):
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


def _unix_time(event_time: str) -> float:
    """0 for a time that is missing or unreadable. A number is a Unix time in s or ms."""
    try:
        number = float(event_time)
    except ValueError:
        try:
            return datetime.fromisoformat(event_time).timestamp()
        except (ValueError, OverflowError, OSError):
            return 0.0
    if not 0 < number < 1e14:
        return 0.0
    return number / 1000 if number > 1e11 else number
