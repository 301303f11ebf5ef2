"""A work queue in the memory of one process, for tests and experiments."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple

from rollcall.core.errors import InboxUnavailable
from rollcall.core.index_documents import failed_document, pointer_document
from rollcall.core.queue_protocols import no_notice
from rollcall.core.texts import storable
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.core.work import WORK_STATES, BadEventRecord, Notice, Work
from rollcall.database.steady_clock import SteadyClock
from rollcall.queues.memory_outbox import MemoryOutbox
from rollcall.queues.queue_order import (
    BEHIND,
    IN_LINE,
    LOOK_AHEAD,
    RESTING,
    Candidate,
    FairOrder,
    next_turn,
    prefix_of,
)
from rollcall.queues.queue_rules import (
    FOUND_PERIOD_S,
    KEEP_BAD_BYTES,
    KEEP_BAD_EVENTS,
    KEEP_DONE_S,
    MAX_FOUND,
    NO_RESULT,
    NO_RESULT_CODE,
    NewWork,
    indexable,
    is_of_upload,
    is_storable,
    same_upload_times,
    work_again,
    work_for_event,
    work_for_object,
)


@dataclass(slots=True)
class _Item:
    """A piece of work, with the fields that only the queue uses."""

    work: Work
    due_s: float
    lease_until_s: float = 0.0
    stage: int = RESTING
    turn: int = 0

    def is_of(self, bucket: str, key: str) -> bool:
        return (self.work.bucket, self.work.key) == (bucket, key)

    def is_in_line(self, *, of_retries: bool) -> bool:
        is_retry = self.work.attempts > 0
        return self.work.state == "queued" and self.stage == IN_LINE and is_retry == of_retries


class _Found(NamedTuple):
    """An upload that the reconciler found without a result."""

    upload: tuple[str, str, str]
    """Bucket, key and etag."""
    uploaded_s: float
    found_s: float


class MemoryQueue:
    """A WorkQueue whose work is lost when its process ends.

    Each method goes through all items, so the queue is meant for a few thousand of them.
    """

    shared = False

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or SteadyClock()
        self._lock = threading.RLock()
        self._owned = threading.Lock()
        self._closed = False
        self._order = FairOrder(self._clock)
        self._ids = count(1)
        self._items: dict[int, _Item] = {}
        """By the id of the work, oldest first."""
        self._identities: set[str] = set()
        self._found: list[_Found] = []
        self.outbox = MemoryOutbox(self._clock)
        self.documents: list[str] = []
        """Documents about results. No indexer reads those of a queue in memory."""
        self._bad_ids = count(1)
        self._bad_events: list[BadEventRecord] = []

    @contextmanager
    def own(self) -> Iterator[None]:
        if not self._owned.acquire(blocking=False):
            raise InboxUnavailable("another trigger already uses the inbox in memory")
        try:
            yield
        finally:
            self._owned.release()

    def close(self) -> None:
        self._closed = True

    def add(self, videos: Iterable[VideoRef]) -> int:
        # If the iterable raises halfway, nothing may be queued, so it is read completely first.
        events = [work_for_event(video) for video in videos]
        with self._access():
            return sum(self._add_event(event) for event in events)

    def add_bad_event(self, body: bytes, reason: str) -> None:
        with self._access():
            record = BadEventRecord(
                next(self._bad_ids), self._clock(), storable(reason), body[:KEEP_BAD_BYTES]
            )
            self._bad_events = [*self._bad_events, record][-KEEP_BAD_EVENTS:]

    def add_missing(
        self,
        info: ObjectInfo,
        results_s: float = math.inf,
        write_notice: Callable[[Work], Notice | None] = no_notice,
    ) -> bool:
        if not (is_storable(info.bucket) and is_storable(info.key)):
            return False
        with self._access():
            for item in self._items_of(info.bucket, info.key):
                work = item.work
                if work.state in ("queued", "running"):
                    return False
                if work.state == "done" and work.changed_s >= results_s:
                    return False
                if work.state == "dead" and is_of_upload(work.etag, work.received_s, info):
                    return False
            upload = (info.bucket, info.key, indexable(info.etag))
            self._found.append(_Found(upload, info.modified_s, self._clock()))
            if self._times_found(upload) > MAX_FOUND:
                item = self._insert(work_for_object(info), in_line=False)
                item.work = replace(item.work, state="dead", code=NO_RESULT_CODE, message=NO_RESULT)
                notice = write_notice(item.work)
                self.outbox.add([notice] if notice else [])
                self.documents.append(failed_document(item.work, NO_RESULT_CODE, NO_RESULT))
            else:
                self._insert(work_for_object(info))
            return True

    def rerun(self, bucket: str, keys: Sequence[str]) -> list[str]:
        with self._access():
            known = []
            for key in dict.fromkeys(keys):
                finished = [
                    item.work
                    for item in self._items_of(bucket, key)
                    if item.work.state in ("done", "dead")
                ]
                if finished:
                    self._insert(work_again(finished[-1]))
                    known.append(key)
            return known

    def claim(self, limit: int, lease_s: float) -> list[Work]:
        with self._access():
            now_s = self._clock()
            self._line_up_due(now_s)
            running = Counter(prefix_of(item.work.key) for item in self._items_in("running"))
            chosen = self._order.choose_batch(self._front(limit), running, limit)
            return [self._lease(self._items[each.id], now_s + lease_s) for each in chosen]

    def finish(
        self, work: Work, code: str, notice: Notice | None = None, document: str = ""
    ) -> None:
        self._end(work, notice, document, state="done", code=code, message="")

    def bury(self, work: Work, code: str, message: str, notice: Notice | None = None) -> None:
        document = failed_document(work, code, message)
        self._end(work, notice, document, state="dead", code=code, message=message)

    def retry(
        self, work: Work, delay_s: float, code: str, message: str, *, counts: bool = True
    ) -> None:
        with self._access():
            item = self._claimed_item(work)
            if item:
                attempts = max(0, item.work.attempts - (0 if counts else 1))
                self._end_call(work, state="queued", code=code, message=message, attempts=attempts)
                item.due_s = self._clock() + delay_s

    def requeue_expired(self, *, everything: bool = False) -> int:
        with self._access():
            now_s = self._clock()
            expired = [
                item
                for item in self._items_in("running")
                if everything or item.lease_until_s < now_s
            ]
            for item in expired:
                self._rest(item, now_s)
                self._change(item, state="queued")
            if everything:  # a trigger starts
                for item in self._items_in("queued"):
                    # The clock was set back since then, so the due time cannot be trusted.
                    if item.stage == RESTING and item.work.changed_s > now_s:
                        item.due_s = min(item.due_s, now_s)
                behind = [item.work for item in self._items_in("queued") if item.stage == BEHIND]
                for bucket, key in {(work.bucket, work.key) for work in behind}:
                    self._release_next(bucket, key, now_s)
            return len(expired)

    def result_found(self, info: ObjectInfo) -> int:
        with self._access():
            found = [
                item
                for item in self._items_of(info.bucket, info.key)
                if item.work.state == "dead" and item.work.etag == indexable(info.etag)
            ]
            for item in found:
                self._change(item, state="done", code="result_found", message="")
            if found:
                self.documents.append(pointer_document(info.bucket, info.key))
            return len(found)

    def replay(self, ids: Sequence[int] = ()) -> int:
        with self._access():
            dead = [item for item in self._items_in("dead") if not ids or item.work.id in ids]
            for item in dead:
                self._rest(item, self._clock())
                # `calls` is not reset, because it distinguishes claims.
                self._change(item, state="queued", attempts=0)
            return len(dead)

    def prune(self, keep_s: float = KEEP_DONE_S, state: str = "done") -> int:
        with self._access():
            before_s = self._clock() - keep_s
            old = [item for item in self._items_in(state) if item.work.changed_s < before_s]
            for item in old:
                del self._items[item.work.id]
                self._identities.discard(indexable(item.work.identity))
            self._found = [each for each in self._found if each.found_s >= before_s]
            self._bad_events = [bad for bad in self._bad_events if bad.received_s >= before_s]
            return len(old)

    def counts(self) -> dict[str, int]:
        with self._access():
            states = Counter(item.work.state for item in self._items.values())
            return {**{state: states[state] for state in WORK_STATES}, "bad": len(self._bad_events)}

    def codes(self) -> dict[tuple[str, str], int]:
        with self._access():
            works = [item.work for item in self._items.values()]
            return Counter(
                (work.state, work.code) for work in works if work.state in ("done", "dead")
            )

    def oldest_waiting_s(self) -> float:
        with self._access():
            waiting = self._items_in("queued")
            oldest = min(waiting, key=lambda item: item.work.id, default=None)
            return max(0.0, self._clock() - oldest.work.received_s) if oldest else 0.0

    def history(self, bucket: str, key: str, limit: int = 100) -> list[Work]:
        with self._access():
            works = [item.work for item in self._items_of(bucket, key)]
        return sorted(works, key=lambda work: work.id, reverse=True)[:limit]

    def latest(self, limit: int, state: str = "") -> list[Work]:
        with self._access():
            works = [item.work for item in self._items.values() if state in ("", item.work.state)]
        return sorted(works, key=lambda work: (work.changed_s, work.id), reverse=True)[:limit]

    def bad_events(self, limit: int) -> list[BadEventRecord]:
        with self._access():
            return self._bad_events[::-1][:limit]

    def unsettled(self, bucket: str, keys: Sequence[str]) -> set[str]:
        return self._keys(bucket, "queued", "running") & set(keys)

    def dead(self, bucket: str, after: str, limit: int) -> list[str]:
        return sorted(key for key in self._keys(bucket, "dead") if key > after)[:limit]

    @contextmanager
    def _access(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise InboxUnavailable("the inbox in memory is closed")
            yield

    def _items_of(self, bucket: str, key: str) -> list[_Item]:
        return [item for item in self._items.values() if item.is_of(bucket, key)]

    def _items_in(self, state: str) -> list[_Item]:
        return [item for item in self._items.values() if item.work.state == state]

    def _keys(self, bucket: str, *states: str) -> set[str]:
        with self._access():
            works = [item.work for item in self._items.values()]
        return {work.key for work in works if work.bucket == bucket and work.state in states}

    def _add_event(self, event: NewWork) -> bool:
        if indexable(event.identity) in self._identities or self._was_reconciled(event):
            return False
        self._insert(event)
        return True

    def _was_reconciled(self, event: NewWork) -> bool:
        """Whether the reconciler found this upload before its event arrived."""
        times = same_upload_times(event)
        video = event.video
        upload = (video.bucket, video.key, indexable(video.etag))
        return times is not None and any(
            each.upload == upload and times[0] < each.uploaded_s < times[1] for each in self._found
        )

    def _times_found(self, upload: tuple[str, str, str]) -> int:
        after_s = self._clock() - FOUND_PERIOD_S
        return sum(each.upload == upload and each.found_s > after_s for each in self._found)

    def _insert(self, new: NewWork, *, in_line: bool = True) -> _Item:
        now_s, video = self._clock(), new.video
        work = Work(
            id=next(self._ids),
            identity=storable(new.identity),
            bucket=video.bucket,
            key=video.key,
            version_id=storable(video.version_id),
            etag=indexable(video.etag),
            event_name=storable(video.event_name),
            origin=new.origin,
            state="queued",
            attempts=0,
            calls=0,
            received_s=now_s,
            changed_s=now_s,
            code="",
            message="",
            traceparent=storable(video.traceparent),
            uploaded_s=new.uploaded_s,
        )
        item = _Item(work, due_s=now_s)
        if in_line:
            self._line_up(item)
        self._items[work.id] = item
        self._identities.add(indexable(work.identity))
        return item

    def _claimed_item(self, work: Work) -> _Item | None:
        """The item of claimed work; None if the work has ended or was claimed again since."""
        item = self._items.get(work.id)
        if item is None or item.work.state not in ("queued", "running"):
            return None
        claim = (work.calls, work.identity)
        return item if (item.work.calls, item.work.identity) == claim else None

    def _lease(self, item: _Item, until_s: float) -> Work:
        item.lease_until_s = until_s
        attempts, calls = item.work.attempts + 1, item.work.calls + 1
        self._change(item, state="running", attempts=attempts, calls=calls)
        return item.work

    def _end(self, work: Work, notice: Notice | None, document: str, **changes: Any) -> None:
        with self._access():
            if self._claimed_item(work):
                self._end_call(work, **changes)
                self.outbox.add([notice] if notice else [])
                self.documents += [document] if document else []

    def _end_call(self, work: Work, **changes: Any) -> None:
        """Change claimed work, and let the next work for the same object proceed."""
        with self._access():
            item, now_s = self._claimed_item(work), self._clock()
            if item is None:
                return
            self._rest(item, now_s)
            self._change(item, **{name: _storable(value) for name, value in changes.items()})
            self._order.add_call(prefix_of(work.key), now_s - work.changed_s)
            self._release_next(work.bucket, work.key, now_s)

    def _release_next(self, bucket: str, key: str, now_s: float) -> None:
        """Of the work that waits behind other work for this object, make the oldest due."""
        for item in self._items_of(bucket, key):
            if item.work.state == "queued" and item.stage == BEHIND:
                self._rest(item, now_s)
                return

    def _change(self, item: _Item, **changes: Any) -> None:
        item.work = replace(item.work, changed_s=self._clock(), **changes)

    def _rest(self, item: _Item, due_s: float) -> None:
        item.stage, item.due_s = RESTING, due_s

    def _line_up_due(self, now_s: float) -> None:
        """Move resting work that is due into the line, or behind other work for its object."""
        resting = [item for item in self._items_in("queued") if item.stage == RESTING]
        for item in sorted(resting, key=lambda item: (item.due_s, item.work.id)):
            if item.due_s <= now_s:
                self._line_up(item)

    def _line_up(self, item: _Item) -> None:
        work = item.work
        # Running work stays IN_LINE, so this finds a running call for the same object too.
        if any(other.stage == IN_LINE for other in self._items_of(work.bucket, work.key)):
            item.stage, item.turn = BEHIND, 0
            return
        is_retry, prefix = work.attempts > 0, prefix_of(work.key)
        line = [each for each in self._items.values() if each.is_in_line(of_retries=is_retry)]
        same_prefix = [each.turn for each in line if prefix_of(each.work.key) == prefix]
        last = max(same_prefix, default=None)
        front = min((each.turn for each in line), default=None)
        item.stage, item.turn = IN_LINE, next_turn(last, front)

    def _front(self, limit: int) -> list[Candidate]:
        """The work near the front of both lines."""
        found: list[Candidate] = []
        for is_retry in (False, True):
            line = [each for each in self._items.values() if each.is_in_line(of_retries=is_retry)]
            front = sorted(line, key=lambda item: (item.turn, item.work.id))
            found += [
                Candidate(item.work.id, prefix_of(item.work.key), item.turn, is_retry)
                for item in front[: LOOK_AHEAD + limit - 1]
            ]
        return found


def _storable(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value
