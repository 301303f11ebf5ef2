"""The time that the inbox lives by."""

from __future__ import annotations

import time

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's goes on while the machine sleeps; elsewhere the monotonic one has to do."""


class SteadyClock:
    """Unix time as it was when the clock was made, and from then on what really went by.

    Whoever sets the system's clock meanwhile changes nothing: no lease ends early while its call
    still runs, and nothing waits for an hour that comes twice.
    """

    def __init__(self) -> None:
        self._start_s = time.time() - time.clock_gettime(_SINCE_BOOT)

    def __call__(self) -> float:
        """In seconds."""
        return self._start_s + time.clock_gettime(_SINCE_BOOT)
