"""How long each stage of one piece of work took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall time by stage; a stage may run many times."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._started = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what runs inside, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self._seconds[name] = self._seconds.get(name, 0.0) + spent

    def elapsed_s(self) -> float:
        """Since the watch was made."""
        return time.perf_counter() - self._started

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage, in order of their first run."""
        return {name: round(seconds * 1000, 1) for name, seconds in self._seconds.items()}
