"""Reads how much memory the container may use, from its control group."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""The limit of the container's own control group: in version 2, and in version 1."""


def memory_limit_bytes(processes: int = 1) -> int | None:
    """Return the container's memory limit, divided by the number of processes that share it.

    Returns None if there is no limit, or if the limit cannot be read.
    """
    for path in _LIMITS:
        with suppress(OSError, ValueError):
            return int(path.read_text()) // processes  # version 2 writes "max" for no limit
    return None
