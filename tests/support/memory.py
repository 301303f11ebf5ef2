"""Measure the memory of this process."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from support.needs import need

_PROCESS = Path("/proc/self")


def watch_peak() -> Callable[[], int]:
    """Start measuring, and return a function that returns the peak increase in bytes since then."""
    need(_PROCESS.exists(), "memory is read from /proc, which only Linux has")
    # Reset the peak to the present value. Otherwise the peak of an earlier test might count.
    (_PROCESS / "clear_refs").write_text("5")
    before = _bytes("VmRSS")
    return lambda: _bytes("VmHWM") - before


def _bytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", (_PROCESS / "status").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])
