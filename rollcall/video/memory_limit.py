"""How much memory the container may use."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Control groups of version 2 and 1, as a container sees its own."""


def memory_limit_bytes(processes: int = 1) -> int | None:
    """The share of one of so many processes in the limit that the kernel keeps; None where there is
    none, or it cannot be read."""
    for path in _LIMITS:
        with suppress(OSError, ValueError):
            return int(path.read_text()) // processes  # version 2 writes "max" for no limit
    return None
