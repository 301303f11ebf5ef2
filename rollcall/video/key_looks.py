"""Looks at a whole video, as far apart as allowed, and at key frames where there are some.

A key frame costs one picture to decode, any other frame all pictures since the last key frame.
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
    """A decoded frame, and its time as `MediaClock` counts it."""

    frame: av.VideoFrame
    time_s: float
    moving_s: float


class Keys(Protocol):
    """The key frames of a video, and the packets from each of them on."""

    def read_until(self, moving_s: float) -> float:
        """Gets to know the key frames up to that time, or up to the returned one."""
        ...

    def between(self, after_s: float, until_s: float) -> list[Key]: ...

    def first(self) -> Key | None:
        """From which the first frame can be decoded."""
        ...

    def first_after(self, moving_s: float) -> Key | None: ...

    def packets_from(self, key: Key) -> Iterator[AnyPacket]: ...

    def forget_before(self, key: Key | None, *, running: bool) -> None:
        """Packets before that key frame are not asked for again. While a run goes on, those that it
        has passed may be forgotten as well, if memory is short."""
        ...

    @property
    def end(self) -> MediaTime | None:
        """The time of the last frame, once it is known."""
        ...


class Run:
    """Decoding from a key frame on."""

    def __init__(self, frames: Iterator[Look]) -> None:
        self._frames = frames
        self._next: Look | None = None

    def peek(self) -> Look | None:
        if self._next is None:
            self._next = next(self._frames, None)
        return self._next

    def pass_over(self) -> None:
        self._next = None


class KeyLooks:
    """Chooses the looks and decodes them.

    Times are `moving_s` of a clock that counts a picture that stands still as up to a whole step:
    so every picture that is shown for a step or longer is looked at, and only once.
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
        self._keys = keys
        self._decoder = decoder
        self._frame_s = frame_s
        self._slack_s = frame_s / 2
        self._tick_s = tick_s
        self._step_s = step_s
        self._duration_s = duration_s
        self._run: Run | None = None
        self._sound: Key | None = None
        """The last key frame that gave a picture."""
        self._alone_works = True

    def after(self, first: Look) -> Iterator[Look]:
        """The looks after the first frame, up to the end of the video."""
        last: Look | None = first
        while last is not None:
            yield last
            last = self._next(last.moving_s)

    def _next(self, last_s: float) -> Look | None:
        latest_s = last_s + self._step_s
        known_s = self._keys.read_until(latest_s + self._step_s)
        found = self._last_key_frame(last_s, latest_s)
        if found is None and not self._is_over(last_s):
            following = self._keys.first_after(latest_s + self._slack_s)
            latest_s = min(latest_s, max(known_s, last_s + self._frame_s))
            next_key_s = following.moving_s if following else latest_s + self._step_s
            found = self._decode_on(last_s, min(latest_s, next_key_s - self._step_s), latest_s)
        self._keys.forget_before(self._sound, running=self._run is not None)
        return found

    def _is_over(self, last_s: float) -> bool:
        """Also where the last picture stands still, as far as the header says that."""
        end = self._keys.end
        if end is None:
            return False
        still_s = min(self._step_s, max(0.0, self._duration_s - end.time_s))
        return end.moving_s + still_s - last_s <= self._step_s + self._slack_s

    def _last_key_frame(self, last_s: float, latest_s: float) -> Look | None:
        """The last key frame in the step, decoded alone; an earlier one where it gives no picture,
        or a late one."""
        slack_s = self._slack_s
        for key in reversed(self._keys.between(last_s + slack_s, latest_s + slack_s)):
            if not self._alone_works:
                break
            found = self._alone(key)
            if found is not None and last_s < found.moving_s <= latest_s + 2 * slack_s:
                self._sound = key
                return found
        return None

    def _alone(self, key: Key) -> Look | None:
        """A decoder that is told that nothing follows hands out what it has at once. Without an
        error it has nothing in a video with intra refresh, whose key frames are not whole pictures;
        all of such a video is decoded, because FFmpeg hands out its first pictures too early."""
        self._run = None
        packet = next(self._keys.packets_from(key), None)
        if packet is None or not packet.is_keyframe:
            return None
        self._decoder.restart()
        frames = [*self._decoder.decode(packet), *self._decoder.flush()]
        self._alone_works = bool(frames) or self._decoder.failures > 0
        self._decoder.restart()
        return next(self._timed(key, iter(frames)), None)

    def _decode_on(self, last_s: float, earliest_s: float, latest_s: float) -> Look | None:
        """The first frame in that time; or else the last one before it, or the first one after it.
        Decoding goes on from the last look, or begins at the last key frame that gave a picture."""
        if self._run is None:
            key = self._sound or self._keys.first()
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
            run.pass_over()
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
        start_s = float(key.stamp * self._tick_s) - key.time_s
        clock = MediaClock(self._frame_s, start_s, self._step_s)
        clock.seek(key.time_s, key.moving_s)
        for frame in frames:
            stamp = frame.dts if frame.pts is None else frame.pts
            time_s = clock.at(None if stamp is None else float(stamp * self._tick_s))
            yield Look(frame, time_s, clock.moving_s)
