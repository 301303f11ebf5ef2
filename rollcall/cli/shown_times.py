"""Times as the commands print them: moments with their zone, and places in a video."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

LATEST_S = 253_402_128_000
"""The end of the year 9999 but one day. Python has no later dates, and files may have any time."""


def moment(at_s: float) -> datetime:
    """A Unix time on the clock of this machine, with the time zone of that moment."""
    return datetime.fromtimestamp(min(at_s, LATEST_S)).astimezone()


def moment_text(at_s: float) -> str:
    """`2026-11-27 14:30 CET`. The pages show times of other zones, so each time names its own."""
    return moment(at_s).strftime("%Y-%m-%d %H:%M %Z")


def clock(seconds: float) -> str:
    """A time in a video: `75.2` -> `1:15`, `3675` -> `1:01:15`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def intervals_text(intervals: Sequence[tuple[float, float]], max_shown: int) -> str:
    """`0:10 to 0:12, 1:15, 3 more intervals`."""
    spans = [_span(clock(start_s), clock(end_s)) for start_s, end_s in intervals[:max_shown]]
    if more := len(intervals) - len(spans):
        spans.append(f"{more} more interval{'' if more == 1 else 's'}")
    return ", ".join(spans)


def _span(start: str, end: str) -> str:
    return start if start == end else f"{start} to {end}"
