"""At which times a video is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

IDENTIFY_FRAMES = 24
"""Frames over the length that the container tells."""

IDENTIFY_STEP_S = 0.5
"""Least distance between them: a face hardly changes faster."""

TIMELINE_STEP_S = 1.0


def identify_times(duration_s: float) -> Iterator[float]:
    """Spread over the whole video.

    The container may tell no duration, or a false one. So the times go on behind it, and their
    distance doubles after each round: an hour is looked at in a few hundred frames at most.
    """
    time_s, step_s = 0.0, max(IDENTIFY_STEP_S, duration_s / IDENTIFY_FRAMES)
    for number in count(1):
        yield time_s
        time_s += step_s
        if number % IDENTIFY_FRAMES == 0:
            step_s *= 2


def timeline_times(duration_s: float) -> Iterator[float]:
    """Every second."""
    return count(0.0, TIMELINE_STEP_S)


PLANS = {"identify": identify_times, "timeline": timeline_times}
