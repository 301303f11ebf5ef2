"""The state that the first page and the navigation show. It is read once for all readers.

Fifty open pages that ask every two seconds cost the database as much as one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from flask import current_app

from rollcall.core.figures import Figures, FigureSource
from rollcall.core.work import Work
from rollcall.database.activity import oldest_transaction_s
from rollcall.database.database import Database
from rollcall.index.overview_queries import (
    SLOT_S,
    Lag,
    LastResult,
    LatestVideo,
    count_done,
    count_failed_files,
    lags,
    last_result,
    latest_videos,
    unknown_groups,
)
from rollcall.index.problem_queries import Cause, causes
from rollcall.web.parts import WebParts

DAY_S = 86400.0

KEEP_S = 1.0
KEEP_LAGS_S = 10.0

LATEST = 20
"""Results in the list of the first page."""

IN_PROGRESS = 5
"""Running videos in that list, and waiting ones."""

LAG_SLOTS = 20
"""Bars of the picture of lags: an hour."""

SETTLED_S = 60.0
"""After this time, no transaction adds a row with an earlier time any more."""

MANY = 999
"""Groups of unknown faces are counted up to this number, and one more."""

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """A value that is read again when it is older than `keep_s`. Safe to share between threads.

    One thread reads, and the others wait for its value or its error. So while the database does not
    answer, they wait for one time-out, and not for one after the other.
    """

    def __init__(self, read: Callable[[], Value], keep_s: float) -> None:
        self._read = read
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._kept: tuple[float, Value] | None = None
        self._failed: tuple[float, Exception] | None = None

    def get(self) -> Value:
        asked_s = time.monotonic()
        with self._lock:
            if self._failed and self._failed[0] > asked_s:
                raise self._failed[1]
            kept = self._kept
            if kept is None or time.monotonic() - kept[0] > self._keep_s:
                kept = self._kept = time.monotonic(), self._read_or_note()
            return kept[1]

    def _read_or_note(self) -> Value:
        try:
            value = self._read()
        except Exception as error:
            self._failed = time.monotonic(), error
            raise
        self._failed = None
        return value

    def forget(self) -> None:
        """Read the value again at its next use."""
        with self._lock:
            self._kept = None


class DoneToday:
    """Counts the videos that were done since midnight in UTC, each of them once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._day_s = self._counted_to_s = 0.0
        self._count = 0

    def count(self, now_s: float) -> int:
        """Only one thread at a time may call this."""
        day_s = now_s - now_s % DAY_S
        if day_s != self._day_s:
            self._day_s, self._counted_to_s, self._count = day_s, day_s, 0
        settled_s = max(self._counted_to_s, now_s - SETTLED_S)
        self._count += count_done(self._database, self._counted_to_s, settled_s)
        self._counted_to_s = settled_s
        return self._count + count_done(self._database, settled_s, now_s + SETTLED_S)


@dataclass(frozen=True, slots=True)
class Troubles:
    """The problems of the system."""

    figures: Figures
    causes: Sequence[Cause]

    @property
    def urgent(self) -> list[Cause]:
        """The causes without skipped uploads, which are often there on purpose."""
        return [cause for cause in self.causes if cause.kind != "skipped"]


@dataclass(frozen=True, slots=True)
class Progress:
    """Running and waiting work, and the latest results."""

    running: Sequence[Work]
    waiting: Sequence[Work]
    """Some of the waiting work, newest first."""
    latest: Sequence[LatestVideo]
    last: LastResult | None
    done_today: int
    failed_files: int
    """Files of `rollcall recognise --index` that could not be recognised today."""


class SystemState:
    """The state of the system, at most a second old."""

    def __init__(self, parts: WebParts) -> None:
        self._parts = parts
        oldest = None
        if parts.database.shared:
            oldest = partial(oldest_transaction_s, parts.database)
        self._figures = FigureSource(parts.queue, parts.queue.outbox, oldest)
        self._done = DoneToday(parts.database)
        self.troubles = Kept(self._read_troubles, KEEP_S)
        self.progress = Kept(self._read_progress, KEEP_S)
        self.lags = Kept(self._read_lags, KEEP_LAGS_S)
        self.unknown_groups = Kept(partial(unknown_groups, parts.database, MANY + 1), KEEP_S)

    def forget(self) -> None:
        """Read everything again, because something was changed."""
        for kept in (self.troubles, self.progress, self.unknown_groups):
            kept.forget()

    def _read_troubles(self) -> Troubles:
        figures = self._figures.read()
        return Troubles(figures, causes(self._parts.database, figures))

    def _read_progress(self) -> Progress:
        queue, database, now_s = self._parts.queue, self._parts.database, time.time()
        return Progress(
            queue.latest(IN_PROGRESS, "running"),
            queue.latest(IN_PROGRESS, "queued"),
            latest_videos(database, LATEST),
            last_result(database),
            self._done.count(now_s),
            count_failed_files(database, now_s - now_s % DAY_S, now_s + SETTLED_S),
        )

    def _read_lags(self) -> list[Lag]:
        return lags(self._parts.database, time.time() - LAG_SLOTS * SLOT_S)


def system_state() -> SystemState:
    """The state that the pages of this app share."""
    found: SystemState = current_app.extensions["rollcall-state"]
    return found
