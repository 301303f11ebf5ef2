"""One form of log lines for every program, and a limit for lines that outsiders cause."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable


def set_up_logs() -> None:
    """Libraries log warnings and worse; Rollcall also logs what it does."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form)
    logging.getLogger("rollcall").setLevel(logging.INFO)


class LogLimit:
    """Rate limit for one kind of log line. Safe for threads."""

    def __init__(
        self, lines: int = 5, per_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lines = lines
        self._per_s = per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._began_s = clock()
        self._count = 0

    def log(self, to: Callable[..., None], message: str, *args: object) -> None:
        """Logs `message % args` with `to`, unless the limit is reached.

        The first line after a silence says how many lines were left out.
        """
        with self._lock:
            left_out = 0
            if self._clock() - self._began_s >= self._per_s:
                left_out = max(0, self._count - self._lines)
                self._began_s, self._count = self._clock(), 0
            self._count += 1
            if self._count > self._lines:
                return
        to(message + (f" ({left_out} more like this were not logged)" if left_out else ""), *args)
