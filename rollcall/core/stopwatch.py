"""How long each stage of one piece of work took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall time by stage; a stage may run many times, and inside another one.

    The time of an inner stage does not count for the outer one.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._started = time.perf_counter()
        self._inner_s = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what runs inside, also when it raises."""
        started, before_s = time.perf_counter(), self._inner_s
        self._inner_s = 0.0
        try:
            yield
        finally:
            spent_s = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + spent_s - self._inner_s
            self._inner_s = before_s + spent_s

    def add(self, other: Stopwatch) -> None:
        """Adds the stages of a watch that ran beside this one."""
        for name, seconds in other._seconds.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def elapsed_s(self) -> float:
        """Since the watch was made."""
        return time.perf_counter() - self._started

    def seconds(self, name: str) -> float:
        """Of one stage so far."""
        return self._seconds.get(name, 0.0)

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage, in order of their first run."""
        return {name: round(seconds * 1000, 1) for name, seconds in self._seconds.items()}
