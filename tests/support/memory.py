"""What this process holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from support.needs import need

_PROCESS = Path("/proc/self")


def watch_peak() -> Callable[[], int]:
    """From now on; gives the bytes by which this process was ever larger than now.

    The process's own high-water mark would be that of every test before this one.
    """
    need(_PROCESS.exists(), "the kernel tells memory in /proc: Linux alone")
    (_PROCESS / "clear_refs").write_text("5")  # the mark comes down to what is held now
    before = _bytes("VmRSS")
    return lambda: _bytes("VmHWM") - before


def _bytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", (_PROCESS / "status").read_text(), re.MULTILINE)
    assert found
    return 1024 * int(found[1])
