"""The clock of the work queues and of SQLite databases."""

from __future__ import annotations

import time

# On Linux, CLOCK_BOOTTIME also counts the time that the machine sleeps. On other systems this clock
# stops during sleep, so leases and retry delays last longer by the length of the sleep.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def since_boot_s() -> float:
    """Seconds since the machine started, including the time that it slept."""
    return time.clock_gettime(_SINCE_BOOT)


class SteadyClock:
    """A clock that shows Unix time, and is not affected when the system's clock is set.

    It reads the system's clock once, and then adds the time that has passed since. Otherwise a
    lease would end too early when somebody sets the system's clock forward, and a retry would be
    late when somebody sets it back.
    """

    def __init__(self) -> None:
        self._start_s = time.time() - since_boot_s()

    def __call__(self) -> float:
        """The Unix time in seconds."""
        return self._start_s + since_boot_s()
