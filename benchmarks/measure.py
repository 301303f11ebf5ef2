"""CPU and wall time of a call, its children included."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Cost(NamedTuple):
    """Milliseconds."""

    cpu_ms: float
    wall_ms: float


def measure(call: Callable[[], T]) -> tuple[Cost, T]:
    """What one call costs this process and the children that it waits for."""
    cpu_s, wall_s = _cpu_s(), time.perf_counter()
    result = call()
    return Cost((_cpu_s() - cpu_s) * 1000, (time.perf_counter() - wall_s) * 1000), result


def _cpu_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
