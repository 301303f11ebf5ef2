"""Waiting for something that another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_S = 60.0


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Polls; the deadline is generous because machines are busy."""
    until = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"waited {deadline_s:g} s in vain: {what}")
        time.sleep(0.02)
