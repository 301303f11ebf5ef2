"""Decides which frames of a video are searched for faces, and when the search may stop.

A *look* is a frame that is searched for faces. A *walk* decodes the whole video, with a look every
second. All lengths and times here are in `Video.moving_s`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile

from rollcall.core.protocols import Video
from rollcall.core.types import Frame

SHORT_S = 10.0
"""`auto` searches videos up to this length as `identify` does. In longer videos, its looks are at
most this far apart, so that it sees everybody who is visible for this time."""

IDENTIFY_FRAMES = 24
"""Number of looks that `identify` spreads over the length in the header. More looks would make
videos without faces the most expensive ones."""

MIN_STEP_S = 0.5
"""Smallest step between looks that are spread. A face hardly changes in less time, so more looks
would cost time and add no information."""

WALK_STEP_S = 1.0
"""Step between two looks of a walk."""

LAST_LOOK_S = 0.1
"""The last look of a walk is this many seconds before the end of the video, because there is no
frame at the end itself."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One value of the setting SCAN. A length of 0 means that the length is unknown."""

    name: str

    walks: bool
    """Whether the whole video is decoded, with a look every second and exact intervals."""

    stops_up_to_s: float
    """In videos up to this length, the search stops at the first frame in which all faces that can
    be judged are clear. Negative if it never stops early."""

    max_step_s: float = SHORT_S
    """The largest step between two looks."""

    def may_stop(self, moving_s: float, look_s: float = 0.0) -> bool:
        """Whether the search of a video of this length may stop at a look at this time."""
        if math.isinf(self.stops_up_to_s):
            return True
        # A look after the end of the length in the header shows that the video is longer.
        return 0 < moving_s <= self.stops_up_to_s and look_s <= moving_s

    def frames(self, video: Video, moving_s: float) -> Iterator[Frame]:
        """The frames to search, in order. `moving_s` is the length in the header."""
        if self.walks:
            return video.frames(walk_times(0.0, moving_s))
        if self.may_stop(moving_s):
            return video.frames(spread_times(moving_s, self.max_step_s))
        if moving_s <= 0:
            return video.frames(unknown_length_times())
        # In long videos, key frames are searched. They are the fastest to decode, because they do
        # not depend on other frames.
        return video.key_frames(SHORT_S)

    def must_search_again(self, planned_s: float, moving_s: float) -> bool:
        """Whether the looks were too far apart, because the length in the header was too large.

        `planned_s` is the length in the header, `moving_s` the true length.
        """
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
"""The scans by the value of the setting SCAN (docs/decisions/0007 and 0089)."""


def walk_times(start_s: float, moving_s: float) -> Iterator[float]:
    """A time every second from `start_s`, and one shortly before the end at `moving_s`.

    After the end, the times continue without limit, because the length in the header may be too
    small.
    """
    last_s = moving_s - LAST_LOOK_S
    yield from takewhile(lambda time_s: time_s < last_s, count(start_s, WALK_STEP_S))
    yield max(start_s, last_s)
    yield from count(max(start_s, moving_s) + WALK_STEP_S, WALK_STEP_S)


def spread_times(moving_s: float, max_step_s: float = math.inf) -> Iterator[float]:
    """Times spread evenly over the length `moving_s`, and farther apart after it.

    The header may have no length or a wrong one, so the times continue without limit. The step
    doubles after every IDENTIFY_FRAMES looks, up to `max_step_s`. In an hour of video without a
    length in the header, there are therefore only a few hundred looks.
    """
    time_s, step_s = 0.0, max(MIN_STEP_S, moving_s / IDENTIFY_FRAMES)
    for number in count(1):
        yield time_s
        time_s += step_s
        if number % IDENTIFY_FRAMES == 0:
            step_s = min(2 * step_s, max_step_s)


def unknown_length_times() -> Iterator[float]:
    """Times MIN_STEP_S apart for the first SHORT_S seconds, and SHORT_S apart after that."""
    time_s = 0.0
    while True:
        yield time_s
        time_s += MIN_STEP_S if time_s < SHORT_S else SHORT_S
