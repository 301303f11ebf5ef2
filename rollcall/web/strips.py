"""The strip of a video: its length, with a coloured tick wherever somebody was seen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from rollcall.core.coverages import stopped_at_s

WIDTH, HEIGHT = 1000, 16
"""Size of the drawing, which is stretched to its place on the page."""

ROWS = 4
"""People of one video share so many rows. Those in further rows are drawn over the first ones."""

MIN_WIDTH = 4
"""Narrower ticks could not be seen; ticks that are nearer than this are joined."""


class _Seen(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def intervals(self) -> Sequence[tuple[float, float]]: ...


class Strip(Protocol):
    """A video whose strip can be drawn, for example an `IndexedVideo`."""

    @property
    def duration_s(self) -> float: ...
    @property
    def people(self) -> Sequence[_Seen]: ...


class Searched(Protocol):
    """A video whose coverage is known as the JSON of the index; empty if it is not known."""

    @property
    def duration_s(self) -> float: ...
    @property
    def coverage(self) -> str: ...


class Tick(NamedTuple):
    """A rectangle of the drawing."""

    lane: str
    x: int
    y: int
    width: int
    height: int


def ticks(video: Strip, lane: Callable[[str], str]) -> list[Tick]:
    """The rectangles of a video's strip. `lane` returns the colour of a name."""
    ends = [end_s for seen in video.people for _, end_s in seen.intervals]
    length_s = max([video.duration_s, *ends])
    if length_s <= 0:
        return []
    rows = min(ROWS, len(video.people))
    height = HEIGHT // rows if rows else HEIGHT
    return [
        Tick(lane(seen.name), x, number % rows * height, width, height)
        for number, seen in enumerate(video.people)
        for x, width in _joined(seen.intervals, WIDTH / length_s)
    ]


def rest_x(video: Searched) -> int | None:
    """Where the part begins that was not searched, because the search stopped at a clear frame."""
    stopped_s = stopped_at_s(json.loads(video.coverage or "{}"))
    if stopped_s is None or not 0 <= stopped_s < video.duration_s:
        return None
    return min(round(stopped_s * WIDTH / video.duration_s) + MIN_WIDTH, WIDTH)


def _joined(intervals: Sequence[tuple[float, float]], scale: float) -> list[tuple[int, int]]:
    """Start and width of the ticks of one person, in units of the drawing."""
    found: list[tuple[int, int]] = []
    for start_s, end_s in intervals:
        start = min(round(start_s * scale), WIDTH - MIN_WIDTH)
        end = max(round(end_s * scale), start + MIN_WIDTH)
        if found and start - sum(found[-1]) < MIN_WIDTH:
            first = found.pop()[0]
            found.append((first, max(end, first) - first))
        else:
            found.append((start, end - start))
    return found


def strip_text(video: Strip) -> str:
    """The strip in words, for screen readers."""
    named = [seen.name for seen in video.people if seen.name]
    unknown = len(video.people) - len(named)
    parts = [*named, *([f"{unknown} unknown"] if unknown else [])]
    return f"Seen: {', '.join(parts)}" if parts else "Nobody was seen"
