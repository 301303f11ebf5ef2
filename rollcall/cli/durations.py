"""Durations as people say them."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def duration_text(seconds: float) -> str:
    """`90` -> `1 min`, `7300` -> `2 h`: the largest unit that fits, without fractions."""
    for unit, length in _UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def exact_duration_text(seconds: float) -> str:
    """`125` -> `2 min 5 s`, `3720` -> `1 h 2 min`: durations above an hour have no seconds."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
