"""Durations as people say them."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def duration_text(seconds: float) -> str:
    """`90` -> `1 min`, `7300` -> `2 h`: the largest unit that fits, without fractions."""
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"
