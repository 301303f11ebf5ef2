"""The texts of a progress bar: numbers of items, sizes and rates."""

from __future__ import annotations

from rollcall.core.printable import printable

MAX_EXTRA_CHARS = 40
"""Longest text behind the numbers."""

BYTES = "bytes"
"""The unit of sizes, which are shown in kB, MB and so on."""


def amount_text(done: float, total: float | None, unit: str) -> str:
    """Return a number of items, for example "3 of 10 videos"."""
    if unit == BYTES:
        return size_text(done) + (f" of {size_text(total)}" if total is not None else "")
    return f"{done:.0f}" + (f" of {total:.0f}" if total is not None else "") + f" {unit}"


def rate_text(rate: float, unit: str) -> str:
    """Return a rate per second, or per minute if it is small; empty if it is 0."""
    if rate <= 0:
        return ""
    if unit == BYTES:
        return f"{size_text(rate)}/s"
    return f"{rate:.3g}/s" if rate >= 1 else f"{rate * 60:.2g}/min"


def size_text(size_bytes: float) -> str:
    """Return a size in the largest unit that gives at least 1."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}" if unit != "B" else f"{size_bytes:.0f} B"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def short_text(text: str) -> str:
    """Escape a text, which may be the name of a file, and cut it to fit beside the numbers."""
    shown = printable(text)
    return shown if len(shown) <= MAX_EXTRA_CHARS else shown[: MAX_EXTRA_CHARS - 1] + "…"
