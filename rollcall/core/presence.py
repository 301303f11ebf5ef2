"""From when to when somebody was there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence, Set
from itertools import pairwise

Intervals = tuple[tuple[float, float], ...]
"""Start and end of each interval in seconds, in order."""

KNOWN_S = 0.15
"""Looks this close together fix the moment between them: a tenth of a second, and a frame more,
because frames do not lie exactly there."""

BRIDGED_S = 1.0
"""A shorter absence is a face that turned away or blinked: nobody leaves and is back so soon."""


def intervals_of(
    seen_s: Set[float], looks_s: Sequence[float], end_s: float, cuts_s: Sequence[float] = ()
) -> Intervals:
    """The intervals of somebody who was seen at the times `seen_s`, out of the looks at `looks_s`.

    An interval begins with the first look that shows them. It ends with the first look that does
    not, or at `end_s`, the end of the video, if that follows closely; otherwise nobody looked in
    between, and it ends with the last look that shows them. A cut between two looks (`cuts_s` are
    the first frames behind cuts, in order) is the exact moment of both.
    """
    found: list[tuple[float, float]] = []
    before_s, seen_before = 0.0, False
    for look_s, next_s in pairwise([*looks_s, max([end_s, *looks_s[-1:]])]):
        if look_s in seen_s:
            start_s = _cut_within(before_s, look_s, cuts_s) or look_s
            until_s = _cut_within(look_s, next_s, cuts_s)
            if until_s is None:
                until_s = next_s if next_s - look_s <= KNOWN_S else look_s
            if found and (seen_before or start_s - found[-1][1] < BRIDGED_S):
                found[-1] = (found[-1][0], until_s)
            else:
                found.append((start_s, until_s))
        before_s, seen_before = look_s, look_s in seen_s
    return tuple(found)


def _cut_within(after_s: float, until_s: float, cuts_s: Sequence[float]) -> float | None:
    """The cut between two looks; the second one may be the first frame behind it."""
    index = bisect_right(cuts_s, after_s)
    return cuts_s[index] if index < len(cuts_s) and cuts_s[index] <= until_s else None
