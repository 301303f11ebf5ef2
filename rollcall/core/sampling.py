"""Where a video is looked at, and when the search for people may stop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile

from rollcall.core.types import Frame, Video

SHORT_S = 10.0
"""`auto` treats videos up to this length as `identify` does. In longer ones its looks are no
further apart than this, so that it misses nobody who is visible for as long."""

IDENTIFY_FRAMES = 24
"""Looks over the length that the header claims."""

MIN_STEP_S = 0.5
"""Least distance between two of those looks: a face hardly changes faster."""

WALK_STEP_S = 1.0

LAST_LOOK_S = 0.1
"""How far before the end of the video a walk looks for the last time."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One value of the setting SCAN. All lengths are `Video.moving_s`; 0 means unknown."""

    name: str

    walks: bool
    """Whether the whole video is decoded, with a look every second and refined interval ends."""

    stops_up_to_s: float
    """In videos up to this length the search stops at the first frame in which every face that can
    be judged is clear."""

    max_step_s: float = SHORT_S
    """The largest step between two looks."""

    def may_stop(self, moving_s: float, look_s: float = 0.0) -> bool:
        """Whether the search of a video of that length may stop at a look at that time.

        A look behind the end that the header claims shows that the video is longer.
        """
        if math.isinf(self.stops_up_to_s):
            return True
        return 0 < moving_s <= self.stops_up_to_s and look_s <= moving_s

    def frames(self, video: Video, moving_s: float) -> Iterator[Frame]:
        """The frames to look at, from the first one to the last."""
        if self.walks:
            return video.frames(walk_times(0.0, moving_s))
        if self.may_stop(moving_s):
            return video.frames(spread_times(moving_s, self.max_step_s))
        if moving_s <= 0:
            return video.frames(unknown_length_times())
        return video.key_frames(SHORT_S)

    def must_search_again(self, planned_s: float, moving_s: float) -> bool:
        """Whether the looks were too far apart, because the video is much shorter than planned."""
        if self.walks:
            return False
        if self.may_stop(planned_s):
            return moving_s < planned_s / 2
        return 0 < moving_s <= SHORT_S < planned_s


SCANS = {
    scan.name: scan
    for scan in (
        Scan("auto", walks=False, stops_up_to_s=SHORT_S),
        Scan("timeline", walks=True, stops_up_to_s=-1.0),
        Scan("identify", walks=False, stops_up_to_s=math.inf, max_step_s=math.inf),
    )
}


def walk_times(start_s: float, moving_s: float) -> Iterator[float]:
    """Every second, and shortly before the end. It goes on behind the end, because the header may
    claim too little."""
    last_s = moving_s - LAST_LOOK_S
    yield from takewhile(lambda time_s: time_s < last_s, count(start_s, WALK_STEP_S))
    yield max(start_s, last_s)
    yield from count(max(start_s, moving_s) + WALK_STEP_S, WALK_STEP_S)


def spread_times(moving_s: float, max_step_s: float = math.inf) -> Iterator[float]:
    """Spread over the whole video.

    The header may give no length, or a false one. So the times go on behind it, and their distance
    doubles after each round, up to `max_step_s`: an hour takes a few hundred looks at most.
    """
    time_s, step_s = 0.0, max(MIN_STEP_S, moving_s / IDENTIFY_FRAMES)
    for number in count(1):
        yield time_s
        time_s += step_s
        if number % IDENTIFY_FRAMES == 0:
            step_s = min(2 * step_s, max_step_s)


def unknown_length_times() -> Iterator[float]:
    """Close together as in a short video at first, then as far apart as in a long one."""
    time_s = 0.0
    while True:
        yield time_s
        time_s += MIN_STEP_S if time_s < SHORT_S else SHORT_S
