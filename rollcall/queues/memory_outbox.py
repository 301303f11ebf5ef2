"""An outbox in the memory of one process, for tests and experiments."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from rollcall.core.notices import KEEP_S, NOTICE_STATES, StoredNotice
from rollcall.core.work import Notice
from rollcall.database.steady_clock import SteadyClock


@dataclass(slots=True)
class _Item:
    """A message, with the fields that only the outbox uses."""

    notice: StoredNotice
    due_s: float
    lease_until_s: float = 0.0


class MemoryOutbox:
    """An Outbox whose messages are lost when its process ends."""

    shared = False

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or SteadyClock()
        self._lock = threading.RLock()
        self._ids = count(1)
        self._items: dict[str, _Item] = {}
        """By the id of the message, oldest first."""

    def add(self, notices: Iterable[Notice]) -> None:
        added, now_s = list(notices), self._clock()
        with self._lock:
            for new in added:
                stored = StoredNotice(
                    next(self._ids), new.message_id, new.body, "queued", 0, 0, now_s, now_s, "", ""
                )
                self._items[new.message_id] = _Item(stored, now_s)

    def claim(self, limit: int, lease_s: float) -> Sequence[StoredNotice]:
        with self._lock:
            now_s = self._clock()
            due = [item for item in self._in("queued") if item.due_s <= now_s]
            due.sort(key=lambda item: (item.due_s, item.notice.id))
            for item in due[:limit]:
                attempts, calls = item.notice.attempts + 1, item.notice.calls + 1
                self._change(item, state="running", attempts=attempts, calls=calls)
                item.lease_until_s = now_s + lease_s
            return [item.notice for item in due[:limit]]

    def delivered(self, notice: StoredNotice) -> None:
        with self._lock:
            self._items.pop(notice.message_id, None)

    def retry(
        self, notice: StoredNotice, delay_s: float, code: str, message: str, *, counts: bool = True
    ) -> None:
        attempts = notice.attempts - (0 if counts else 1)
        self._settle(notice, delay_s, state="queued", attempts=attempts, code=code, message=message)

    def bury(self, notice: StoredNotice, code: str, message: str) -> None:
        self._settle(notice, 0.0, state="dead", code=code, message=message)

    def requeue_expired(self, *, everything: bool = False) -> int:
        with self._lock:
            now_s = self._clock()
            return self._requeue(
                item for item in self._in("running") if everything or item.lease_until_s < now_s
            )

    def replay(self, ids: Sequence[int] = ()) -> int:
        with self._lock:
            dead = [item for item in self._in("dead") if not ids or item.notice.id in ids]
            for item in dead:
                self._change(item, attempts=0, created_s=self._clock())
            return self._requeue(dead)

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {state: len(self._in(state)) for state in NOTICE_STATES}

    def oldest_s(self) -> float:
        with self._lock:
            waiting = [item.notice.created_s for item in self._in("queued", "running")]
            return self._clock() - min(waiting) if waiting else 0.0

    def dead(self, limit: int) -> list[StoredNotice]:
        with self._lock:
            dead = [item.notice for item in self._in("dead")]
        return sorted(dead, key=lambda each: (each.changed_s, each.id), reverse=True)[:limit]

    def prune(self) -> int:
        with self._lock:
            before_s = self._clock() - KEEP_S
            old = [item.notice for item in self._in("dead") if item.notice.changed_s < before_s]
            waiting = self._in("queued", "running")
            old += [item.notice for item in waiting if item.notice.created_s < before_s]
            for notice in old:
                del self._items[notice.message_id]
            return len(old)

    def _in(self, *states: str) -> list[_Item]:
        return [item for item in self._items.values() if item.notice.state in states]

    def _requeue(self, items: Iterable[_Item]) -> int:
        requeued = list(items)
        for item in requeued:
            item.due_s = self._clock()
            self._change(item, state="queued")
        return len(requeued)

    def _settle(self, notice: StoredNotice, delay_s: float, **changes: Any) -> None:
        with self._lock:
            item = self._items.get(notice.message_id)
            if item and (item.notice.state, item.notice.calls) == ("running", notice.calls):
                item.due_s = self._clock() + delay_s
                self._change(item, **changes)

    def _change(self, item: _Item, **changes: Any) -> None:
        item.notice = replace(item.notice, changed_s=self._clock(), **changes)
