"""Finds key frames in the index of an MP4 or AVI, which lists every frame of the file.

`KeyLooks` uses these key frames. In files without a complete index, `ReadAhead` finds the key
frames by reading packets.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av
from av.video.stream import VideoStream

from rollcall.core.media_clock import MAX_HOLD_S, MediaClock
from rollcall.video.opening import HAS_WHOLE_INDEX, AnyPacket, packets_of


class MediaTime(NamedTuple):
    """A time in both counts of `MediaClock`."""

    time_s: float
    moving_s: float


class Key(NamedTuple):
    """A key frame: its stamp in ticks, and its time in both counts of `MediaClock`."""

    stamp: int
    time_s: float
    moving_s: float


@dataclass(frozen=True, slots=True)
class KeyIndex:
    """The key frames of a video.

    `end_s` and `moving_s` are the time of the last frame in the two counts of `MediaClock`.
    """

    keys: list[Key]
    end_s: float
    moving_s: float
    jumps: bool

    @property
    def divisible(self) -> bool:
        """Whether a reader can begin anywhere, because each `moving_s` belongs to one stamp.

        That is not so if the clock jumps, or if pictures stand still, because `moving_s` leaves out
        most of the time that they stand still.
        """
        return bool(self.keys) and not self.jumps and self.end_s - self.moving_s < 1e-3


def read_key_index(
    stream: VideoStream,
    demuxer: str,
    frame_s: float,
    hold_s: float = MAX_HOLD_S,
    shift: int = 0,
) -> KeyIndex | None:
    """Read the key frames from the index. Returns None if the container has no complete index.

    `moving_s` counts a picture that stands still as `hold_s` at most. The index holds decoding
    stamps; `shift` is how many ticks later a key frame is shown. An index of a million frames takes
    half a second of processor time.
    """
    entries = stream.index_entries
    if demuxer not in HAS_WHOLE_INDEX or not stream.frames or not len(entries):
        return None
    tick_s = float(stream.time_base or Fraction(1, 1000))
    start = stream.start_time or 0
    clock = MediaClock(frame_s, start * tick_s, hold_s)
    keys: list[Key] = []
    for entry in entries:
        stamp = entry.timestamp + shift
        if stamp < start:
            # An edit list hides the frames before the start. The last key frame among them is still
            # needed to decode the first frame that is shown.
            if entry.is_keyframe:
                hidden_s = (start - stamp) * tick_s
                keys = [Key(stamp, -hidden_s, -hidden_s)]
            continue
        clock.advance(stamp * tick_s)
        if entry.is_keyframe:
            keys.append(Key(stamp, clock.time_s, clock.moving_s))
    return KeyIndex(keys, max(0.0, clock.time_s), max(0.0, clock.moving_s), clock.jumps > 0)


class IndexedKeys:
    """Implements `Keys` by seeking to key frames that the index lists."""

    def __init__(
        self, index: KeyIndex, container: av.container.InputContainer, stream: VideoStream
    ) -> None:
        self.end: MediaTime | None = MediaTime(index.end_s, index.moving_s)
        self._keys = index.keys
        self._times = [key.moving_s for key in index.keys]
        self._container = container
        self._stream = stream

    def read_until(self, moving_s: float) -> float:
        return math.inf

    def between(self, after_s: float, until_s: float) -> list[Key]:
        return self._keys[bisect_right(self._times, after_s) : bisect_right(self._times, until_s)]

    def first(self) -> Key | None:
        return self._keys[0] if self._keys else None

    def first_after(self, moving_s: float) -> Key | None:
        number = bisect_right(self._times, moving_s)
        return self._keys[number] if number < len(self._keys) else None

    def packets_from(self, key: Key) -> Iterator[AnyPacket]:
        try:
            self._container.seek(key.stamp, stream=self._stream)
        except av.FFmpegError:
            return iter(())
        return packets_of(self._container, self._stream)

    def forget_before(self, key: Key | None, *, running: bool) -> None:
        """Do nothing: no packet is kept, because a seek can always read it again."""
