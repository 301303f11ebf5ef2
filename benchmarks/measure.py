"""Measures the CPU and wall time of a call. All child processes count, even those still running."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from benchmarks import processes

T = TypeVar("T")


class Cost(NamedTuple):
    """Milliseconds."""

    cpu_ms: float
    wall_ms: float


def measure(call: Callable[[], T]) -> tuple[Cost, T]:
    """Return what one call costs this process and all its descendants, and the call's result."""
    # The CPU time of running children is read from /proc. That takes a millisecond or two, so it is
    # done before the call starts and after it has ended.
    alive_s = _alive_s()
    ended_s, started_s = _self_and_ended_s(), time.perf_counter()
    result = call()
    wall_s, ended_s = time.perf_counter() - started_s, _self_and_ended_s() - ended_s
    return Cost((ended_s + _alive_s() - alive_s) * 1000, wall_s * 1000), result


def _alive_s() -> float:
    return processes.cpu_s(processes.tree(os.getpid())[1:])


def _self_and_ended_s() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
