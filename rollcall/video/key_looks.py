"""Chooses the frames to search for faces in a whole video ("looks"): key frames where possible.

A key frame can be decoded alone. For any other frame, all frames since the last key frame have to
be decoded. So if there are key frames within a step of the last look, the last of them is the next
look. Otherwise decoding continues up to a frame that is a step away. `AvVideo.key_frames` uses this
module.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol

import av

from rollcall.core.media_clock import MediaClock
from rollcall.video.key_index import Key, MediaTime
from rollcall.video.opening import AnyPacket
from rollcall.video.packet_decoder import MAX_DAMAGED_PACKETS, PacketDecoder


class Look(NamedTuple):
    """A decoded frame, and its time in both counts of `MediaClock`."""

    frame: av.VideoFrame
    time_s: float
    moving_s: float


class Keys(Protocol):
    """The key frames of a video, and the packets that follow each of them.

    `IndexedKeys` gets the key frames from the file's index, and `ReadAhead` by reading packets. All
    times are values of `moving_s`.
    """

    def read_until(self, moving_s: float) -> float:
        """Find the key frames up to this time; return the time up to which they are known now."""
        ...

    def between(self, after_s: float, until_s: float) -> list[Key]:
        """Return the known key frames after one time, up to and including another."""
        ...

    def first(self) -> Key | None:
        """Return the key frame from which the video's first frame can be decoded."""
        ...

    def first_after(self, moving_s: float) -> Key | None:
        """Return the first known key frame after this time."""
        ...

    def packets_from(self, key: Key) -> Iterator[AnyPacket]:
        """Return the packets from this key frame to the end of the file."""
        ...

    def forget_before(self, key: Key | None, *, running: bool) -> None:
        """Allow packets before this key frame to be dropped.

        `running` says whether a `Run` is reading the packets. If it is, and memory is short, the
        packets that the run has passed may be dropped as well.
        """
        ...

    @property
    def end(self) -> MediaTime | None:
        """The time of the last frame, once it is known."""
        ...


class Run:
    """Frames decoded one after the other from a key frame. `peek` shows the next frame, and `take`
    moves on to the one after it."""

    def __init__(self, frames: Iterator[Look]) -> None:
        self._frames = frames
        self._next: Look | None = None

    def peek(self) -> Look | None:
        if self._next is None:
            self._next = next(self._frames, None)
        return self._next

    def take(self) -> None:
        self._next = None


class KeyLooks:
    """Chooses the looks and decodes them.

    Times are values of `moving_s` of a clock on which a still picture counts as one step at most.
    So every picture that is shown for a step or longer becomes a look, and only one.
    """

    def __init__(
        self,
        keys: Keys,
        decoder: PacketDecoder,
        *,
        frame_s: float,
        tick_s: Fraction,
        step_s: float,
        duration_s: float,
    ) -> None:
        """`frame_s` is the duration of a frame, and `step_s` the longest time between two looks."""
        self._keys = keys
        self._decoder = decoder
        self._frame_s = frame_s
        self._slack_s = frame_s / 2
        """Tolerance when times are compared, because stamps are rounded to ticks."""
        self._tick_s = tick_s
        self._step_s = step_s
        self._duration_s = duration_s
        self._run: Run | None = None
        self._last_good_key: Key | None = None
        """The last key frame that gave a picture."""
        self._keys_decode_alone = True
        """Whether a key frame gives a picture without the packets after it."""

    def looks_from(self, first: Look) -> Iterator[Look]:
        """Yield the first look, and every look after it up to the end of the video."""
        look: Look | None = first
        while look is not None:
            yield look
            look = self._next(look.moving_s)

    def _next(self, last_s: float) -> Look | None:
        latest_s = last_s + self._step_s
        known_s = self._keys.read_until(latest_s + self._step_s)
        look = self._last_key_frame(last_s, latest_s)
        if look is None and not self._is_over(last_s):
            # No key frame is within a step. The look may come before `latest_s`, as long as the
            # next key frame is within a step of the look: that key frame is then the look after it.
            following = self._keys.first_after(latest_s + self._slack_s)
            latest_s = min(latest_s, max(known_s, last_s + self._frame_s))
            next_key_s = following.moving_s if following else latest_s + self._step_s
            look = self._decode_on(last_s, min(latest_s, next_key_s - self._step_s), latest_s)
        self._keys.forget_before(self._last_good_key, running=self._run is not None)
        return look

    def _is_over(self, last_s: float) -> bool:
        """Whether no look is left, not even at a last picture that stands still."""
        end = self._keys.end
        if end is None:
            return False
        # Only the header says how long the last picture is shown.
        still_s = min(self._step_s, max(0.0, self._duration_s - end.time_s))
        return end.moving_s + still_s - last_s <= self._step_s + self._slack_s

    def _last_key_frame(self, last_s: float, latest_s: float) -> Look | None:
        """Decode the last key frame of the step alone.

        If it gives no picture, or one that is shown too late, an earlier key frame is tried.
        """
        slack_s = self._slack_s
        for key in reversed(self._keys.between(last_s + slack_s, latest_s + slack_s)):
            if not self._keys_decode_alone:
                break
            look = self._decode_alone(key)
            if look is not None and last_s < look.moving_s <= latest_s + 2 * slack_s:
                self._last_good_key = key
                return look
        return None

    def _decode_alone(self, key: Key) -> Look | None:
        """Decode a key frame without the packets after it, by flushing the decoder."""
        self._run = None
        packet = next(self._keys.packets_from(key), None)
        if packet is None or not packet.is_keyframe:
            return None
        self._decoder.restart()
        frames = [*self._decoder.decode(packet), *self._decoder.flush()]
        # Neither a picture nor an error: this is a video with intra refresh, whose key frames are
        # not complete pictures. All frames are decoded from now on, because after a seek FFmpeg
        # returns the first pictures before they are complete.
        self._keys_decode_alone = bool(frames) or self._decoder.failures > 0
        self._decoder.restart()
        return next(self._timed(key, iter(frames)), None)

    def _decode_on(self, last_s: float, earliest_s: float, latest_s: float) -> Look | None:
        """Continue decoding after the last look, or from the last key frame that gave a picture.

        Returns the first frame between `earliest_s` and `latest_s`. If there is none, returns the
        last frame before `earliest_s`, or else the first frame after `latest_s`.
        """
        if self._run is None:
            key = self._last_good_key or self._keys.first()
            if key is None:
                return None
            self._decoder.restart()
            self._run = Run(self._timed(key, self._decoded(self._keys.packets_from(key))))
        return self._pick(self._run, last_s, earliest_s, latest_s)

    def _pick(self, run: Run, last_s: float, earliest_s: float, latest_s: float) -> Look | None:
        best: Look | None = None
        while (look := run.peek()) is not None:
            if look.moving_s > latest_s + self._slack_s and best is not None:
                return best
            run.take()
            if look.moving_s > last_s + 1e-6:
                best = look
                if look.moving_s >= earliest_s - self._slack_s / 2:
                    return best
        return best

    def _decoded(self, packets: Iterator[AnyPacket]) -> Iterator[av.VideoFrame]:
        for packet in packets:
            yield from self._decoder.decode(packet)
            if self._decoder.failures >= MAX_DAMAGED_PACKETS:
                return
        yield from self._decoder.flush()

    def _timed(self, key: Key, frames: Iterator[av.VideoFrame]) -> Iterator[Look]:
        """Yield the frames with their times, counted from the time of the key frame."""
        start_s = float(key.stamp * self._tick_s) - key.time_s
        clock = MediaClock(self._frame_s, start_s, self._step_s)
        clock.seek(key.time_s, key.moving_s)
        for frame in frames:
            stamp = frame.dts if frame.pts is None else frame.pts
            time_s = clock.advance(None if stamp is None else float(stamp * self._tick_s))
            yield Look(frame, time_s, clock.moving_s)
