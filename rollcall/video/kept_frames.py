"""Keeps decoded frames for a while, in case the caller wants to search one of them later.

When a person appears or leaves between two searched frames, `rollcall.recognition` searches frames
between those two to find the time. To decode such a frame again, all frames since the last key
frame would have to be decoded. So `FrameFinder` puts the frames that it passes into `KeptFrames`.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

KEPT_STEP_S = 0.1
"""Time between kept frames. The ends of intervals are reported to a tenth of a second."""

MAX_KEPT = 64
"""Limit for the number of kept frames. They cover more than the five seconds that are needed: the
second between the parent's last two frames, and up to four seconds that were decoded ahead."""

SAMPLES = (18, 32)
"""Rows and columns of brightness samples. Two frames are compared by these samples."""

MIN_CUT = 25.0
MIN_CUT_FACTOR = 3.0
"""At a cut, samples change by at least MIN_CUT on average (on a scale of 0 to 255), and by at least
MIN_CUT_FACTOR times the median change of the frames around the cut. Measured at cuts between eight
real clips: 42 to 76. Within the clips, the median change is 3 and the largest is 18."""

MAX_CHANGE = 255.0

MAX_CHANGES = 512
"""Number of changes that are remembered: twenty seconds at 25 frames a second, and still five
seconds at 100."""


class TimedFrame(NamedTuple):
    """A decoded frame, and when a player shows it."""

    frame: av.VideoFrame
    time_s: float


class Change(NamedTuple):
    """How much a frame differs from the frame decoded before it, 0 to 255."""

    time_s: float
    change: float


class KeptFrames:
    """The latest frames, about a tenth of a second apart. The oldest frames are dropped first.

    Frames are kept as they were decoded, and are converted to RGB only when they are asked for.
    """

    def __init__(self, frame_s: float, max_bytes: int) -> None:
        self._frame_s = frame_s
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: deque[TimedFrame] = deque()
        self._samples: NDArray[np.float32] | None = None
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)

    def add(self, frame: av.VideoFrame, time_s: float) -> None:
        """Add the next decoded frame, in order of time.

        Every frame is compared with the frame before it, to find cuts. A frame that comes too soon
        after the last kept frame is not kept.
        """
        self._note_change(frame, time_s)
        if self._kept and time_s + self._frame_s - self._kept[-1].time_s <= KEPT_STEP_S:
            return
        self._kept.append(TimedFrame(frame, time_s))
        self._bytes += _bytes_of(frame)
        while self._kept and (self._bytes > self._max_bytes or len(self._kept) > MAX_KEPT):
            self._bytes -= _bytes_of(self._kept.popleft().frame)

    def nearest(self, after_s: float, before_s: float) -> TimedFrame | None:
        """Return the frame nearest to the middle between two times, both excluded."""
        middle_s = (after_s + before_s) / 2
        between = [each for each in self._kept if after_s < each.time_s < before_s]
        return min(between, key=lambda each: abs(each.time_s - middle_s), default=None)

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """Return the time of the first frame after the cut; None unless there is exactly one."""
        changes = [each for each in self._changes if after_s < each.time_s <= before_s]
        if not changes:
            return None
        usual_change = median(each.change for each in changes)
        min_change = max(MIN_CUT, MIN_CUT_FACTOR * usual_change)
        cuts = [each.time_s for each in changes if each.change >= min_change]
        return cuts[0] if len(cuts) == 1 else None

    def clear(self) -> None:
        self._kept.clear()
        self._changes.clear()
        self._samples = None
        self._bytes = 0

    def _note_change(self, frame: av.VideoFrame, time_s: float) -> None:
        samples, previous = _samples(frame), self._samples
        self._samples = samples
        if previous is not None:
            has_same_size = samples.shape == previous.shape
            change = float(np.abs(samples - previous).mean()) if has_same_size else MAX_CHANGE
            self._changes.append(Change(time_s, change))


def _bytes_of(frame: av.VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)


def _samples(frame: av.VideoFrame) -> NDArray[np.float32]:
    """Return samples of the first plane, 0 to 255. In nearly all videos it holds the brightness."""
    plane, bits = frame.planes[0], frame.format.components[0].bits
    values = np.frombuffer(plane, np.uint8 if bits <= 8 else np.uint16)  # type: ignore[call-overload]
    # Rows are padded, so a row in memory may be longer than the width of the picture.
    rows = values.reshape(plane.height, -1)
    columns = min(plane.width, rows.shape[1])
    picked = rows[:: max(1, plane.height // SAMPLES[0]), : columns : max(1, columns // SAMPLES[1])]
    samples: NDArray[np.float32] = picked.astype(np.float32) / (1 << max(0, bits - 8))
    return samples
