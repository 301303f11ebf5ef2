"""Measures how long each stage of a piece of work takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

STAGES = ("head", "download", "open", "decode", "faces", "match", "vote", "students", "write")
"""The names of all stages, for programs that add up the times of many videos."""


class Stopwatch:
    """Adds up the wall-clock time of each stage.

    A stage may run many times. If it runs inside another stage, its time does not count for the
    outer stage. Each thread needs its own stopwatch.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._started = time.perf_counter()
        self._inner_s = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the `with` block to the stage, even if the block raises an error."""
        started, before_s = time.perf_counter(), self._inner_s
        self._inner_s = 0.0
        try:
            yield
        finally:
            spent_s = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + spent_s - self._inner_s
            self._inner_s = before_s + spent_s

    def add(self, other: Stopwatch) -> None:
        """Add the times of another thread's stopwatch."""
        for name, seconds in other._seconds.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def elapsed_s(self) -> float:
        """Seconds since the stopwatch was created."""
        return time.perf_counter() - self._started

    def seconds(self, name: str) -> float:
        """Seconds of one stage so far; 0 if the stage has not run."""
        return self._seconds.get(name, 0.0)

    def ms(self) -> dict[str, float]:
        """Milliseconds of each stage, in the order in which the stages ended for the first time."""
        return {name: round(seconds * 1000, 1) for name, seconds in self._seconds.items()}
