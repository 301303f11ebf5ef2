"""Reads the CPU time and memory of a process and of all its descendants from /proc (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CPUCLOCK_SCHED = 2
"""Linux's number for the clock of a process's CPU time (see clock_getcpuclockid(3))."""


def tree(pid: int) -> list[int]:
    """Return the ids of the process and all its descendants, except those already waited for."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        if fields := _stat(folder.name):
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = [pid]
    for each in found:  # `found` grows during this loop
        found += children.get(each, [])
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds of these processes and of their children that have ended."""
    return sum(_own_s(pid) + _ended_children_s(pid) for pid in pids)


def machine_cpu_s() -> float:
    """Return the CPU seconds of all processes on this machine since it started.

    The time that a hypervisor gave to other virtual machines ("steal") is included.
    """
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    # user, nice, system, irq, softirq and steal, as proc(5) counts them
    return sum(int(fields[at]) for at in (0, 1, 2, 5, 6, 7)) / _TICKS_PER_S


def rss_bytes(pids: Iterable[int]) -> int:
    """Return the resident memory of these processes. A page that two of them share counts twice."""
    return sum(int(fields[21]) * _PAGE_BYTES for pid in pids if (fields := _stat(pid)))


def _own_s(pid: int) -> float:
    """Return the CPU seconds of all threads of a process; 0 if it has ended."""
    # /proc counts in hundredths of a second, this clock in nanoseconds. The number of the clock is
    # computed as in glibc's clock_getcpuclockid.
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def _ended_children_s(pid: int) -> float:
    """Return the CPU seconds of children that have ended (cutime and cstime of proc(5))."""
    return sum(map(int, _stat(pid)[13:15])) / _TICKS_PER_S


def _stat(pid: int | str) -> list[str]:
    """Return the fields of /proc/PID/stat, starting at `state`; [] if the process has ended.

    The name of the process precedes `state` in parentheses, and may contain any character.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
