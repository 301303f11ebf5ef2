"""Commits the changes of several threads in one transaction.

A commit takes one write to the disk, however much it contains. So while one thread commits, the
changes of other threads are collected, and the next commit contains all of them. If several
threads change something at the same time, each commit also waits a few milliseconds for more
changes. A change that comes alone is committed at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rollcall.core.errors import InboxUnavailable
from rollcall.database.database import is_about_data

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

MAX_ITEMS = 64
"""Limit on the items of one commit, so that no transaction gets long."""


GATHER_S = 0.005
"""How long a commit waits for further items if the last commit had several. A transaction of eight
items costs little more CPU time than a transaction of one (docs/decisions/0115)."""


class _Entry(Generic[Item, Outcome]):
    """An item whose thread waits until the item is committed, or until it has to commit itself."""

    __slots__ = ("error", "go_on", "item", "outcome", "settled")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.settled = False
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.go_on = threading.Lock()
        """Held until the thread may go on. (A lock is much cheaper than an Event.)"""
        self.go_on.acquire()


class GroupCommit(Generic[Item, Outcome]):
    """`commit` stores items in one transaction, and returns the outcome of each."""

    def __init__(self, commit: Callable[[Sequence[Item]], Sequence[Outcome]]) -> None:
        self._commit = commit
        self._lock = threading.Lock()
        self._waiting: deque[_Entry[Item, Outcome]] = deque()
        # Waiting for this event is not disturbed when libfaketime sets the clock; time.sleep is.
        self._never = threading.Event()
        self._size = 0
        """Number of items in the last commit."""
        self._busy = False
        """Whether a thread is committing, or has been told to commit."""

    def submit(self, item: Item) -> Outcome:
        """Store one item, and return its outcome when it is on the disk.

        Raises InboxUnavailable; then the item is not stored.
        """
        entry: _Entry[Item, Outcome] = _Entry(item)
        with self._lock:
            self._waiting.append(entry)
            leads, self._busy = not self._busy, True
        if not leads:
            entry.go_on.acquire()
        if not entry.settled:
            self._lead()
        if entry.error is not None:
            raise entry.error
        return entry.outcome  # type: ignore[return-value]

    def _lead(self) -> None:
        """Commit the waiting items, of which this thread's item is the oldest."""
        if self._size > 1:
            self._never.wait(GATHER_S)
        with self._lock:
            count = min(len(self._waiting), MAX_ITEMS)
            batch = [self._waiting.popleft() for _ in range(count)]
        self._size = count
        try:
            self._settle(batch)
        except BaseException as error:
            for entry in batch:
                if not entry.settled:
                    entry.error, entry.settled = error, True
        finally:
            with self._lock:
                successor = self._waiting[0] if self._waiting else None
                self._busy = successor is not None
            for entry in batch:
                entry.go_on.release()
            if successor:
                successor.go_on.release()

    def _settle(self, batch: list[_Entry[Item, Outcome]]) -> None:
        try:
            outcomes = self._commit([entry.item for entry in batch])
        except Exception as error:
            if len(batch) > 1 and not (
                isinstance(error, InboxUnavailable) and not is_about_data(error)
            ):
                # One item is wrong. It must not prevent the others from being stored.
                for entry in batch:
                    self._settle([entry])
                return
            for entry in batch:
                entry.error, entry.settled = _copy(error), True
            return
        for entry, outcome in zip(batch, outcomes, strict=True):
            entry.outcome, entry.settled = outcome, True


def _copy(error: Exception) -> Exception:
    """An error for one of several threads, which must not all raise the same object."""
    if not isinstance(error, InboxUnavailable):
        return error
    copy = InboxUnavailable(str(error))
    copy.__cause__ = error.__cause__ or error
    return copy
