"""Lanes: one for each person of a video, with a bar wherever the person was seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.web.formats import clock, video_lane

MAX_BARS = 300
"""Bars of one lane. Intervals are joined over the shortest gaps until there are so few."""

MAX_ALL_BARS = 6_000
"""Bars of all lanes. A browser takes seconds to draw more."""

MIN_SHARE = 0.004
"""Width of the bar of a single look, as a part of the lane. Browsers do not draw narrower ones."""

MAX_LANES = 200
"""People whose lanes are drawn. The table lists everybody."""

MAX_TICKS = 6
"""Labels of the time axis, which have to fit on a phone."""

_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


class Bar(NamedTuple):
    """One interval. `x` and `width` are percentages of the lane."""

    start_s: float
    end_s: float
    x: str
    width: str
    text: str


class Lane(NamedTuple):
    """One person."""

    seen: Appearance
    label: str
    """The name, or `unknown 2`."""
    colour: str
    bars: tuple[Bar, ...]


class Rest(NamedTuple):
    """The part of a video that was not searched, in percentages of a lane."""

    x: str
    width: str


class Tick(NamedTuple):
    """A label of the time axis. `x` is a percentage."""

    time_s: float
    x: str


def length_s(video: IndexedVideo) -> float:
    """The length that lanes show, which is never 0."""
    ends = (end_s for seen in video.people for _, end_s in seen.intervals)
    return max(video.duration_s, *ends, 1.0) if video.people else max(video.duration_s, 1.0)


def labelled(people: Sequence[Appearance]) -> list[tuple[Appearance, str]]:
    """Everybody with a label; unknown people last, and numbered if there are several."""
    named = [(seen, seen.name) for seen in people if seen.name]
    unknown = [seen for seen in people if not seen.name]
    if len(unknown) == 1:
        return [*named, (unknown[0], "unknown")]
    return [*named, *((seen, f"unknown {number}") for number, seen in enumerate(unknown, 1))]


def lanes(video: IndexedVideo, words: Mapping[int, str] | None = None) -> list[Lane]:
    """The lanes, those of unknown people last.

    `words` has a text for some people, by their numbers, which replaces the certainty.
    """
    whole_s, shown = length_s(video), labelled(video.people)[:MAX_LANES]
    colour = video_lane(seen.name for seen in video.people)
    most = min(MAX_BARS, MAX_ALL_BARS // max(len(shown), 1))
    return [
        Lane(
            seen,
            label,
            colour(seen.name),
            tuple(_bars(seen, label, (words or {}).get(seen.number), whole_s, most)),
        )
        for seen, label in shown
    ]


def rest_after(stopped_at_s: float | None, whole_s: float) -> Rest | None:
    """What was not searched after the search stopped; None if it went on to the end."""
    if stopped_at_s is None or not 0 <= stopped_at_s < whole_s:
        return None
    share = stopped_at_s / whole_s
    return Rest(_percent(share), _percent(1 - share))


def ticks(whole_s: float) -> list[Tick]:
    """The labels of the time axis, at round times."""
    step_s = next((step for step in _STEPS_S if whole_s / step < MAX_TICKS), 86400 * 7)
    count = int(whole_s / step_s) + 1
    return [
        Tick(number * step_s, _percent(number * step_s / whole_s))
        for number in range(min(count, MAX_TICKS + 1))
        if number * step_s <= 0.95 * whole_s
    ]


def _bars(
    seen: Appearance, label: str, words: str | None, whole_s: float, most: int
) -> Iterable[Bar]:
    sure = words or seen.certainty
    certainty = f", {sure}" if sure else ""
    for start_s, end_s in joined(seen.intervals, most):
        yield Bar(
            start_s,
            end_s,
            _percent(min(start_s / whole_s, 1 - MIN_SHARE)),
            _percent(max((end_s - start_s) / whole_s, MIN_SHARE)),
            f"{label}, {clock(start_s)} to {clock(end_s)}{certainty}",
        )


def joined(intervals: Sequence[tuple[float, float]], most: int) -> Sequence[tuple[float, float]]:
    """At most `most` intervals; those with the shortest gaps between them are joined."""
    if len(intervals) <= most:
        return intervals
    gaps = [after[0] - before[1] for before, after in pairwise(intervals)]
    # The gaps that stay are the longest ones.
    kept = sorted(sorted(range(len(gaps)), key=lambda place: -gaps[place])[: most - 1])
    firsts, lasts = [0, *(place + 1 for place in kept)], [*kept, len(intervals) - 1]
    return [
        (intervals[first][0], max(end for _, end in intervals[first : last + 1]))
        for first, last in zip(firsts, lasts, strict=True)
    ]


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.3f}%"
