"""Decoded frames that are kept for a while, in case somebody wants to look at one of them."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

EVERY_S = 0.1
"""Ends of intervals are given to a tenth of a second."""

MAX_KEPT = 64
"""Five seconds: the interval that the parent looks at, and those that were decoded ahead."""

SAMPLES = (18, 32)
"""Rows and columns of the samples of brightness by which two frames are compared."""

MIN_CUT = 25.0
MIN_CUT_FACTOR = 3.0
"""A cut changes the brightness of a sample by at least this on average (of 255), and by this factor
more than the frames around it change. Measured with cuts between eight real clips: 42 to 76. Within
the clips, frames change by 3 in the median, and by 18 at most."""

MAX_CHANGE = 255.0

MAX_CHANGES = 512
"""Twenty seconds at 25 frames a second, and as long as MAX_KEPT at 100."""


class TimedFrame(NamedTuple):
    """A decoded frame, and when a player shows it."""

    frame: av.VideoFrame
    time_s: float


class Change(NamedTuple):
    """How much a frame differs from the one that was decoded before it, 0 to 255."""

    time_s: float
    change: float


class KeptFrames:
    """The latest frames, a tenth of a second apart. Each is kept as it was decoded, and converted
    only if it is asked for; the oldest go first."""

    def __init__(self, frame_s: float, max_bytes: int) -> None:
        self._frame_s = frame_s
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: deque[TimedFrame] = deque()
        self._samples: NDArray[np.float32] | None = None
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)

    def add(self, frame: av.VideoFrame, time_s: float) -> None:
        """Every decoded frame, in order of time. One that comes too soon after the last kept one is
        compared with the frame before, and not kept."""
        self._note_change(frame, time_s)
        if self._kept and time_s + self._frame_s - self._kept[-1].time_s <= EVERY_S:
            return
        self._kept.append(TimedFrame(frame, time_s))
        self._bytes += _bytes_of(frame)
        while self._kept and (self._bytes > self._max_bytes or len(self._kept) > MAX_KEPT):
            self._bytes -= _bytes_of(self._kept.popleft().frame)

    def nearest(self, after_s: float, before_s: float) -> TimedFrame | None:
        """The frame nearest to the middle between two times, both excluded."""
        middle_s = (after_s + before_s) / 2
        between = [each for each in self._kept if after_s < each.time_s < before_s]
        return min(between, key=lambda each: abs(each.time_s - middle_s), default=None)

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """The time of the first frame behind the only cut between two frames."""
        changes = [each for each in self._changes if after_s < each.time_s <= before_s]
        if not changes:
            return None
        usual = median(each.change for each in changes)
        limit = max(MIN_CUT, MIN_CUT_FACTOR * usual)
        cuts = [each.time_s for each in changes if each.change >= limit]
        return cuts[0] if len(cuts) == 1 else None

    def _note_change(self, frame: av.VideoFrame, time_s: float) -> None:
        samples, before = _samples(frame), self._samples
        self._samples = samples
        if before is not None:
            same_size = samples.shape == before.shape
            change = float(np.abs(samples - before).mean()) if same_size else MAX_CHANGE
            self._changes.append(Change(time_s, change))

    def clear(self) -> None:
        self._kept.clear()
        self._changes.clear()
        self._samples = None
        self._bytes = 0


def _bytes_of(frame: av.VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)


def _samples(frame: av.VideoFrame) -> NDArray[np.float32]:
    """Samples of the first plane, which is brightness in nearly all videos; 0 to 255."""
    plane, bits = frame.planes[0], frame.format.components[0].bits
    values = np.frombuffer(plane, np.uint8 if bits <= 8 else np.uint16)  # type: ignore[call-overload]
    rows = values.reshape(plane.height, -1)
    columns = min(plane.width, rows.shape[1])
    picked = rows[:: max(1, plane.height // SAMPLES[0]), : columns : max(1, columns // SAMPLES[1])]
    samples: NDArray[np.float32] = picked.astype(np.float32) / (1 << max(0, bits - 8))
    return samples
