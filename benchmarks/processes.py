"""What the kernel says of a process and of all its descendants (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CPUCLOCK_SCHED = 2


def tree(pid: int) -> list[int]:
    """The process, and every descendant that somebody has still to wait for."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _stat(folder.name):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:  # grows while it is walked
        found += children.get(each, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """What they have used so far, and what those of their children used that have ended."""
    return sum(_own_s(pid) + _ended_children_s(pid) for pid in pids)


def machine_cpu_s() -> float:
    """What everybody on this machine has used so far; time that a hypervisor took is in it.

    user, nice, system, irq, softirq and steal of proc(5).
    """
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(int(fields[at]) for at in (0, 1, 2, 5, 6, 7)) / _TICKS_PER_S


def rss_bytes(pids: Iterable[int]) -> int:
    """Resident memory; a page that two of them share counts twice."""
    return sum(int(fields[21]) * _PAGE_BYTES for pid in pids if (fields := _stat(pid)))


def _own_s(pid: int) -> float:
    """Of all its threads, to the nanosecond; 0 when it is gone.

    The clock's number is made as clock_getcpuclockid(3) makes it.
    """
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def _ended_children_s(pid: int) -> float:
    """cutime and cstime of proc(5), in hundredths of a second."""
    return sum(map(int, _stat(pid)[13:15])) / _TICKS_PER_S


def _stat(pid: int | str) -> list[str]:
    """The fields from `state` on: the name before it may hold anything. Empty when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
