"""Computes the intervals in which a person was in the video."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence, Set
from itertools import pairwise

Intervals = tuple[tuple[float, float], ...]
"""Start and end of each interval in seconds, in order."""

EXACT_STEP_S = 0.15
"""Two looks at most this far apart show when somebody came or went. The refiner adds looks until
they are about a tenth of a second apart; one frame is added, because frames have fixed times."""

MAX_BRIDGED_S = 1.0
"""A shorter absence does not end an interval: the face was probably turned away or hidden, because
people seldom leave and return within a second."""


def intervals_of(
    seen_s: Set[float], looks_s: Sequence[float], end_s: float, cuts_s: Sequence[float] = ()
) -> Intervals:
    """The intervals of a person who was seen at the times `seen_s`; `looks_s` are all looks.

    An interval begins at the first look that shows the person. If the next look without the person,
    or the end of the video (`end_s`), is within EXACT_STEP_S of the last look that shows the
    person, the interval ends there. Otherwise it ends at the last look that shows the person. If
    there is a cut between two such looks, the interval begins or ends at the cut. `cuts_s` are the
    times of the first frames after cuts. All times are in seconds and in ascending order.
    """
    intervals: list[tuple[float, float]] = []
    before_s, seen_before = 0.0, False
    for look_s, next_s in pairwise([*looks_s, max([end_s, *looks_s[-1:]])]):
        if look_s in seen_s:
            start_s = _cut_within(before_s, look_s, cuts_s) or look_s
            until_s = _cut_within(look_s, next_s, cuts_s)
            if until_s is None:
                until_s = next_s if next_s - look_s <= EXACT_STEP_S else look_s
            if intervals and (seen_before or start_s - intervals[-1][1] < MAX_BRIDGED_S):
                intervals[-1] = (intervals[-1][0], until_s)
            else:
                intervals.append((start_s, until_s))
        before_s, seen_before = look_s, look_s in seen_s
    return tuple(intervals)


def _cut_within(after_s: float, until_s: float, cuts_s: Sequence[float]) -> float | None:
    """The first cut after `after_s` and not after `until_s`; None if there is none."""
    index = bisect_right(cuts_s, after_s)
    return cuts_s[index] if index < len(cuts_s) and cuts_s[index] <= until_s else None
