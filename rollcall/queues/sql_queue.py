"""The durable work queue in an SQLite or PostgreSQL database.

Every change is on the disk before a method returns, because the trigger acknowledges an event as
soon as it is queued. Changes of several threads are committed together.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TypeVar

from sqlalchemy import Connection, text

from rollcall.core.errors import InboxUnavailable
from rollcall.core.queue_protocols import no_notice
from rollcall.core.texts import storable
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.core.work import BadEventRecord, Notice, Work
from rollcall.database.database import Database
from rollcall.database.file_lock import own_file
from rollcall.database.steady_clock import SteadyClock
from rollcall.queues import sql_line, sql_upkeep, sql_views
from rollcall.queues.group_commit import GroupCommit
from rollcall.queues.queue_order import Candidate, FairOrder, prefix_of
from rollcall.queues.queue_rules import (
    KEEP_BAD_BYTES,
    KEEP_BAD_EVENTS,
    KEEP_DONE_S,
    NewWork,
    is_storable,
    work_for_event,
    work_for_object,
)
from rollcall.queues.sql_ends import Changes, End, end_calls, record
from rollcall.queues.sql_outbox import SqlOutbox
from rollcall.queues.sql_statements import STATEMENTS

SLOTS = 16
"""Rows of `tally` for each count. Each transaction chooses one, because transactions that change
the same row would have to wait for each other's commits."""

ANALYZE_AFTER = 500
"""Number of new works after which each process has PostgreSQL count the kinds of rows in `work`.
PostgreSQL does that by itself within a minute or so. Until then it may choose slow plans: it
believes that hardly any work is in line, and sorts all of that work to find the last turn."""

LOCKED_TRIES = 5
LOCKED_PAUSE_S = 0.02
"""If all work in line is locked by claims of other triggers, a claim is tried again after a pause
of about this length: those triggers commit soon, and claim only a part of what they have locked."""

Result = TypeVar("Result")


class SqlQueue:
    """A WorkQueue in a database, whose tables exist already."""

    def __init__(self, database: Database) -> None:
        self.shared = database.shared
        self.outbox = SqlOutbox(database)
        self._database = database
        self._sql = STATEMENTS[database.shared]
        self._adds: GroupCommit[Sequence[NewWork], int] = GroupCommit(self._commit_adds)
        self._ends: GroupCommit[End, None] = GroupCommit(self._commit_ends)
        self._clock = database.clock or SteadyClock()
        self._order = FairOrder(self._clock)
        self._order_lock = threading.Lock()
        self._jitter = random.Random()
        self._added = 0
        """Number of new works, up to ANALYZE_AFTER."""

    def own(self) -> AbstractContextManager[None]:
        path = self._database.path
        return nullcontext() if path is None else own_file(path)

    def close(self) -> None:
        self._database.close()

    # --- new work

    def add(self, videos: Iterable[VideoRef]) -> int:
        events = [work_for_event(video) for video in videos]
        new = self._adds.submit(events) if events else 0
        if self.shared and self._added < ANALYZE_AFTER:
            self._analyze_after(new)
        return new

    def add_bad_event(self, body: bytes, reason: str) -> None:
        def change(connection: Connection, now_s: float, changes: Changes) -> None:
            sql_upkeep.add_bad_event(
                connection, now_s, storable(reason), body[:KEEP_BAD_BYTES], KEEP_BAD_EVENTS, changes
            )

        self._change(change)

    def add_missing(
        self,
        info: ObjectInfo,
        results_s: float = math.inf,
        write_notice: Callable[[Work], Notice | None] = no_notice,
    ) -> bool:
        if not (is_storable(info.bucket) and is_storable(info.key)):
            return False  # no call could name such an object
        new = work_for_object(info)

        def change(connection: Connection, now_s: float, changes: Changes) -> bool:
            return sql_upkeep.add_missing(
                connection, self._sql, now_s, info, results_s, new, write_notice, changes
            )

        return self._change(change)

    def rerun(self, bucket: str, keys: Sequence[str]) -> list[str]:
        def change(connection: Connection, now_s: float, changes: Changes) -> list[str]:
            return sql_upkeep.rerun(connection, self._sql, now_s, bucket, keys, changes)

        return self._change(change)

    # --- calls

    def claim(self, limit: int, lease_s: float) -> list[Work]:
        def change(connection: Connection) -> list[Work]:
            now_s = self._now_s()
            return sql_line.claim(connection, self._sql, now_s, limit, lease_s, self._choose)

        works = self._database.run(change)
        tries = LOCKED_TRIES if self.shared else 0
        while not works and tries and self._has_work_in_line():
            time.sleep(LOCKED_PAUSE_S * self._jitter.uniform(0.2, 1.0))
            works, tries = self._database.run(change), tries - 1
        return works

    def finish(
        self, work: Work, code: str, notice: Notice | None = None, document: str = ""
    ) -> None:
        self._ends.submit(End(work, "done", code, notice=notice, document=document))

    def bury(self, work: Work, code: str, message: str, notice: Notice | None = None) -> None:
        self._ends.submit(End(work, "dead", code, message, notice=notice))

    def retry(
        self, work: Work, delay_s: float, code: str, message: str, *, counts: bool = True
    ) -> None:
        self._ends.submit(End(work, "queued", code, message, delay_s, counts))

    def requeue_expired(self, *, everything: bool = False) -> int:
        def change(connection: Connection) -> int:
            before_s = math.inf if everything else None
            values = {"now_s": self._now_s(), "before_s": before_s, "limit": sql_upkeep.CHUNK}
            count = connection.execute(self._sql.requeue, values).rowcount
            if everything:  # a trigger starts
                now_s = {"now_s": self._database.now_s(connection)}
                connection.execute(self._sql.distrust, now_s)
                connection.execute(self._sql.release_all, now_s)
            return count

        return sum(sql_upkeep.in_chunks(lambda: self._database.run(change)))

    # --- upkeep

    def result_found(self, info: ObjectInfo) -> int:
        def change(connection: Connection, now_s: float, changes: Changes) -> int:
            return sql_upkeep.result_found(connection, self._sql, now_s, info, changes)

        return self._change(change)

    def replay(self, ids: Sequence[int] = ()) -> int:
        dead = sorted(set(ids))
        if not dead:
            with self._database.reading() as connection:
                dead = sql_views.dead_ids(connection)
        count = 0
        for start in range(0, len(dead), sql_upkeep.CHUNK):
            chunk = dead[start : start + sql_upkeep.CHUNK]

            def change(
                connection: Connection, now_s: float, changes: Changes, ids: Sequence[int] = chunk
            ) -> int:
                return sql_upkeep.replay(connection, self._sql, now_s, ids, changes)

            count += self._change(change)
        return count

    def prune(self, keep_s: float = KEEP_DONE_S, state: str = "done") -> int:
        after = (-math.inf, 0)

        def change(connection: Connection, now_s: float, changes: Changes) -> int:
            nonlocal after
            before_s = now_s - keep_s
            count, last = sql_upkeep.prune_ended(
                connection, self._sql, state, before_s, after, changes
            )
            after = last or after
            return count

        def change_others(connection: Connection, now_s: float, changes: Changes) -> int:
            return sql_upkeep.prune_others(connection, now_s - keep_s, changes)

        sum(sql_upkeep.in_chunks(lambda: self._change(change_others)))
        return sum(sql_upkeep.in_chunks(lambda: self._change(change)))

    # --- views

    def counts(self) -> dict[str, int]:
        with self._database.reading() as connection:
            return sql_views.counts(connection)

    def codes(self) -> dict[tuple[str, str], int]:
        with self._database.reading() as connection:
            return sql_views.codes(connection)

    def oldest_waiting_s(self) -> float:
        with self._database.reading() as connection:
            received_s = sql_views.oldest_received_s(connection)
            if received_s is None:
                return 0.0
            return max(0.0, self._database.now_s(connection) - received_s)

    def latest(self, limit: int, state: str = "") -> list[Work]:
        with self._database.reading() as connection:
            return sql_views.latest(connection, limit, state)

    def history(self, bucket: str, key: str, limit: int = 100) -> list[Work]:
        with self._database.reading() as connection:
            return sql_views.history(connection, bucket, key, limit)

    def bad_events(self, limit: int) -> list[BadEventRecord]:
        query = "SELECT id, received_s, reason, body FROM bad_event ORDER BY id DESC LIMIT :limit"
        with self._database.reading() as connection:
            found = connection.execute(text(query), {"limit": limit})
            return [
                BadEventRecord(id_, at_s, reason, bytes(body)) for id_, at_s, reason, body in found
            ]

    def unsettled(self, bucket: str, keys: Sequence[str]) -> set[str]:
        with self._database.reading() as connection:
            return sql_views.unsettled(connection, bucket, keys)

    def dead(self, bucket: str, after: str, limit: int) -> list[str]:
        with self._database.reading() as connection:
            return sql_views.dead(connection, bucket, after, limit)

    # --- transactions

    def _change(self, change: Callable[[Connection, float, Changes], Result]) -> Result:
        """Run `change(connection, now_s, changes)` in a transaction, and update the counts."""

        def run(connection: Connection) -> Result:
            changes = Changes()
            result = change(connection, self._database.now_s(connection), changes)
            self._record(connection, changes)
            return result

        return self._database.run(run)

    def _now_s(self) -> float | None:
        """The time for statements, or None if they use the server's clock."""
        return self._database.clock() if self._database.clock else None

    def _record(self, connection: Connection, changes: Changes) -> None:
        slot = self._jitter.randrange(SLOTS) if self.shared else 0
        record(connection, self._sql, slot, changes)

    def _choose(
        self, line: Sequence[Candidate], running: Mapping[str, int], limit: int
    ) -> list[Candidate]:
        with self._order_lock:
            return self._order.choose_batch(line, running, limit)

    def _commit_adds(self, batches: Sequence[Sequence[NewWork]]) -> list[int]:
        events = [event for batch in batches for event in batch]

        def change(connection: Connection) -> list[int]:
            is_new = sql_line.find_new(connection, self._sql, events)
            new = [event for event, new in zip(events, is_new, strict=True) if new]
            if new:
                inserted = iter(sql_line.insert(connection, self._sql, self._now_s(), new))
                is_new = [new and next(inserted) for new in is_new]
                self._record(connection, Changes({("queued", ""): sum(is_new)}))
            flags = iter(is_new)
            return [sum(next(flags) for _ in batch) for batch in batches]

        return self._database.run(change)

    def _commit_ends(self, ends: Sequence[End]) -> list[None]:
        def change(connection: Connection) -> list[bool]:
            changes = Changes()
            held = end_calls(connection, self._sql, self._now_s(), ends, changes)
            self._record(connection, changes)
            return held

        held = self._database.run(change)
        with self._order_lock:
            for end, was_held in zip(ends, held, strict=True):
                if was_held:
                    # The clocks of server and process may differ a little, which does not matter.
                    call_s = self._clock() - end.work.changed_s
                    self._order.add_call(prefix_of(end.work.key), call_s)
        return [None] * len(ends)

    def _analyze_after(self, new: int) -> None:
        with self._order_lock:
            was_below, self._added = self._added < ANALYZE_AFTER, self._added + new
            is_due = was_below and self._added >= ANALYZE_AFTER
        if is_due:
            # The events are stored already, so an error must not make their sender repeat them.
            with suppress(InboxUnavailable):
                self._database.run(lambda connection: connection.execute(text("ANALYZE work")))

    def _has_work_in_line(self) -> bool:
        with self._database.reading() as connection:
            return bool(connection.execute(self._sql.in_line).scalar_one())
