"""Waiting for something that another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_S = 180.0
"""Enough for a busy test machine. A wait ends as soon as its condition is true."""


def wait_until(
    condition: Callable[[], T],
    description: str,
    deadline_s: float = DEADLINE_S,
    poll_s: float = 0.02,
) -> T:
    """Call `condition` until it returns a true value, and return that value.

    `description` is a noun phrase for what is awaited. Raises AssertionError with the description
    after `deadline_s`.
    """
    until = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {deadline_s:g} s in vain for {description}")
        time.sleep(poll_s)
    return value
