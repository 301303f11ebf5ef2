"""Shows progress as lines on stderr, for a log file or a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rollcall.cli.amounts import amount_text, rate_text, short_text
from rollcall.cli.durations import exact_duration_text
from rollcall.cli.terminal import say

LINE_EVERY_S = 5.0

MAX_PAUSE_S = 60.0
"""Longest pause between two lines about work that cannot be counted."""


class ProgressLines:
    """A line every few seconds, with how much is done."""

    def __init__(
        self,
        what: str,
        total: float | None,
        unit: str,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = lambda line: say(line, err=True),
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._clock, self._show = clock, show
        self._lock = threading.Lock()
        self._started_s = self._said_s = clock()
        self._done = 0.0
        self._extra = ""
        self._said = False

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if self._said and kind is None:
            elapsed_s = self._clock() - self._started_s
            self._show(f"{self._what}: {self._amount()} in {exact_duration_text(elapsed_s)}")

    def advance(self, amount: float = 1) -> None:
        with self._lock:
            self._done += amount
            now_s = self._clock()
            if now_s - self._said_s >= LINE_EVERY_S:
                self._said_s, self._said = now_s, True
                self._show(self._line(now_s - self._started_s))

    def expect(self, total: float) -> None:
        self._total = total

    def mention(self, text: str) -> None:
        self._extra = short_text(text)

    def _line(self, elapsed_s: float) -> str:
        rate = self._done / elapsed_s
        facts = [self._amount(), rate_text(rate, self._unit)]
        if self._total is not None and rate > 0:
            left_s = max(0.0, self._total - self._done) / rate
            facts.append(f"{exact_duration_text(left_s)} left")
        return f"{self._what}: {', '.join(filter(None, [*facts, self._extra]))}"

    def _amount(self) -> str:
        return amount_text(self._done, self._total, self._unit)


class WaitingLines:
    """Lines about work that cannot be counted, with growing pauses."""

    def __init__(self, what: str, pause_s: float = LINE_EVERY_S) -> None:
        self._what, self._pause_s = what, pause_s
        self._started_s = time.monotonic()
        self._said = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waiting", daemon=True)

    def __enter__(self) -> WaitingLines:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._said and kind is None:
            say(f"{self._what}: done in {self._elapsed()}", err=True)

    def _run(self) -> None:
        while not self._ended.wait(self._pause_s):
            self._said = True
            say(f"{self._what}: {self._elapsed()}", err=True)
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)

    def _elapsed(self) -> str:
        return exact_duration_text(time.monotonic() - self._started_s)
