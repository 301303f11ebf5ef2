"""Frames of a video file, by FFmpeg's libraries through PyAV.

Measured on eight real clips against OpenCV's reader: opening and the first frame cost two thirds
less, because nothing is decoded only to learn what the header says already, and because the first
key frame is not held back until its neighbours are decoded (docs/performance.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from itertools import chain, dropwhile, islice
from typing import BinaryIO

import av
from av.video.stream import VideoStream

from rollcall.core.errors import NotAVideo, VideoTooLarge
from rollcall.core.media_clock import MediaClock
from rollcall.core.types import Frame, VideoLimits
from rollcall.video.content_length import claimed_s, claims_too_much, measure
from rollcall.video.kept_frames import KeptFrames
from rollcall.video.key_index import IndexedKeys, KeyIndex, read_key_index
from rollcall.video.key_looks import KeyLooks, Look
from rollcall.video.opening import (
    HAS_KEY_INDEX,
    HAS_WHOLE_INDEX,
    AnyPacket,
    VideoContainer,
    packets_of,
)
from rollcall.video.packet_decoder import MAX_DAMAGED_PACKETS, PacketDecoder
from rollcall.video.read_ahead import ReadAhead
from rollcall.video.shown_frames import Screen
from rollcall.video.tracks import choose_track

MAX_LAG_S = 10.0
"""The longest time that a video with intra refresh may need to complete its first picture."""

SEEK_FROM_S = 10.0
"""Without a list of key frames, a step longer than this seeks and a shorter one decodes on. Key
frames lie up to 10 s apart, so a seek over less may decode more than it skips."""

SEEK_MARGIN_S = 2.0
"""A seek in an MPEG stream goes by other stamps than a frame's own, so it aims a little earlier."""

FALLBACK_FPS = 25.0
"""For a container that gives no rate, or an absurd one."""

MIN_FPS, MAX_FPS = 1.0, 250.0
"""FFmpeg gives 1000 for jittered millisecond stamps, and next to nothing where a clock jumps."""

MARGIN_PX = 1 << 20
"""FFmpeg counts its own edges as well; this limit only keeps it from asking for gigabytes before
the frame's true size is known."""

DENSE_FPS = 10.0
"""From this rate on, frames that no other frame builds upon may be left out of a whole walk: the
next one is a tenth of a second away."""

REORDERED_FRAMES = 16
"""Frames that are decoded before others and shown after them: H.264's and HEVC's limit."""

NOTHING_DECODED = "no frame of the video can be decoded; convert it, or upload it again"


@contextmanager
def open_video(
    file: BinaryIO,
    limits: VideoLimits,
    *,
    whole: bool = False,
    track: int = 0,
    kept_bytes: int = 0,
) -> Iterator[AvVideo]:
    """The video in a seekable file, whose name means nothing: its first bytes decide.

    `whole` says that all of it will be looked at, and not only some frames; then up to `kept_bytes`
    of decoded frames are kept for `kept_frame`. `track` counts the video tracks in the order in
    which they are worth looking at. Raises NotAVideo or VideoTooLarge.
    """
    container = VideoContainer(file)
    try:
        video = AvVideo(container, limits, whole=whole, track=track, kept_bytes=kept_bytes)
        try:
            yield video
        finally:
            video.let_go()
    finally:
        container.close()


class AvVideo:
    """Implements `rollcall.core.types.Video`."""

    def __init__(
        self,
        container: VideoContainer,
        limits: VideoLimits,
        *,
        whole: bool,
        track: int,
        kept_bytes: int,
    ) -> None:
        self._limits = limits
        self._whole = whole
        self._demuxer = container.demuxer
        self._stream, self.track, self.tracks = choose_track(container, track, limits.pixels)
        self._fps = _rate(self._stream)
        self._may_seek = True
        self._has_sought = False
        self.duration_s, self.moving_s = self._length(container)
        self._check_length(self.duration_s)
        self._check_pixels(self._stream.width, self._stream.height)
        self._stream_index = self._stream.index
        self._file = container
        self._container = container.opened
        self._tick_s = self._stream.time_base or Fraction(1, 1000)
        start = self._stream.start_time
        self._clock = MediaClock(1 / self._fps, None if start is None else self._seconds(start))
        self._begun = False
        self._first_is_repeated = False
        self._lag_s = 0.0
        self._decoder = PacketDecoder(self._stream)
        self._screen = Screen(self._stream, self._demuxer, limits.pixels)
        self._packets = packets_of(self._container, self._stream)
        self._again: deque[AnyPacket] = deque()
        self._ready: deque[av.VideoFrame] = deque()
        self._kept = KeptFrames(1 / self._fps, kept_bytes if whole else 0)
        self._configure()

    @property
    def damaged(self) -> bool:
        return self._decoder.damaged

    @property
    def pixels(self) -> int:
        """Pixels of a frame, as the header claims."""
        return self._stream.width * self._stream.height

    @property
    def divisible(self) -> bool:
        """Only a video that is opened as a whole is searched for this."""
        return self._whole and self._may_seek and self._index is not None and self._index.divisible

    @cached_property
    def _index(self) -> KeyIndex | None:
        return read_key_index(self._stream, self._demuxer, 1 / self._fps)

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """Yields, for each time, the first frame that is not before it; times only grow.

        The times are `MediaClock.moving_s`. Decoding begins at the last key frame before the first
        of them, in a video that can be sought in. Raises NotAVideo when not even the first frame
        can be decoded. A video that is cut off ends with its last good frame.
        """
        seen_any = False
        for time_s in times_s:
            found = self._frame_at(time_s)
            if found is None:
                self.moving_s = self._true_moving_s()
                self._ended_at(self._clock.time_s)
                break
            seen_any = True
            self._check_pixels(found.width, found.height)
            yield Frame(self._clock.time_s, self._screen.show(found))
        if not seen_any:
            raise NotAVideo(NOTHING_DECODED)

    def key_frames(self, step_s: float) -> Iterator[Frame]:
        """Frames of the whole video, at most `step_s` apart; where key frames lie close enough,
        nothing else is decoded. A picture that stands still for longer is looked at once.

        Raises NotAVideo as `frames` does.
        """
        seen: list[AnyPacket] = []
        unseen, self._packets = self._packets, _noted(self._packets, seen)
        found = self._frame_at(0.0)
        if found is None:
            raise NotAVideo(NOTHING_DECODED)
        last = first = Look(found, self._clock.time_s, self._clock.moving_s)
        if self._fps >= DENSE_FPS:
            self._stream.codec_context.skip_frame = "NONREF"
        keys = self._keys(seen, unseen, step_s)
        looks = KeyLooks(
            keys,
            self._decoder,
            frame_s=1 / self._fps,
            tick_s=self._tick_s,
            step_s=step_s,
            duration_s=self.duration_s,
        )
        for last in looks.after(first):
            self._check_length(last.time_s)
            self._check_pixels(last.frame.width, last.frame.height)
            yield Frame(last.time_s, self._screen.show(last.frame))
        if keys.end is not None:
            self._ended_at(keys.end.time_s)
        if keys.end is not None and keys.end.moving_s - last.moving_s > step_s + 1 / self._fps:
            self.moving_s = last.moving_s + 1 / self._fps  # the file is cut off

    def _ended_at(self, last_s: float) -> None:
        """Corrects the length by the time of the last frame, except where an index says how long
        the video was before it was cut off."""
        if last_s > 0 and self._demuxer not in HAS_WHOLE_INDEX:
            self.duration_s = last_s + 1 / self._fps

    def kept_frame(self, after_s: float, before_s: float) -> Frame | None:
        """The frame nearest to the middle between two times, among those decoded lately."""
        found = self._kept.nearest(after_s, before_s)
        return found and Frame(found.time_s, self._screen.show(found.frame))

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """The time of the first frame behind a cut between two frames that were decoded lately."""
        return self._kept.cut_between(after_s, before_s)

    def let_go(self) -> None:
        """Drops pictures and packets: a generator of ours refers to us, and such circles live on
        until Python looks for them."""
        self._ready.clear()
        self._again.clear()
        self._kept.clear()
        self._packets = iter(())

    def _keys(
        self, seen: list[AnyPacket], unseen: Iterator[AnyPacket], hold_s: float
    ) -> IndexedKeys | ReadAhead:
        """From the index, where that is complete; or else from the packets, from the first one."""
        frame_s, start_s = 1 / self._fps, self._clock.stamp_s(0.0)
        stamps = [(each.pts, each.dts) for each in seen if each.is_keyframe]
        late = [pts - dts for pts, dts in stamps if pts is not None and dts is not None]
        shift = late[0] if late else 0
        index = read_key_index(self._stream, self._demuxer, frame_s, hold_s, shift)
        if index is not None and index.keys and self._may_seek:
            return IndexedKeys(index, self._container, self._stream)
        return ReadAhead(chain(seen, unseen), self._tick_s, frame_s, start_s, hold_s)

    def _length(self, container: VideoContainer) -> tuple[float, float]:
        """Seconds of content, and without what stands still: as the header claims, or measured
        where the claim is not credible.

        0 where the header says nothing; `frames` does not rely on it.
        """
        claimed = claimed_s(container.opened, self._stream)
        if not claims_too_much(container.opened, self._stream, claimed, self._limits.seconds):
            return claimed, claimed
        index, frame_s = self._stream.index, 1 / self._fps
        found = measure(container.opened, self._stream, frame_s, self._limits.seconds)
        self._may_seek = not found.jumps
        container.reopen()
        self._stream = container.track(index)
        return found.time_s, found.moving_s

    def _true_moving_s(self) -> float:
        """After the last frame. Where seeks skipped parts and the end came much too early, the
        header was wrong, and the packets say how long the video is."""
        seen_s = max(0.0, self._clock.moving_s) + 1 / self._fps
        if not self._has_sought:
            return seen_s
        if seen_s > self.moving_s / 2:
            return self.moving_s
        frame_s, max_s = 1 / self._fps, self._limits.seconds
        self._file.reopen()
        track = self._file.track(self._stream_index)
        return measure(self._file.opened, track, frame_s, max_s).moving_s

    def _configure(self) -> None:
        """With the least work. More threads would spend more time of all cores, and on a walk the
        search for faces has the other core."""
        context = self._stream.codec_context
        self._stream.thread_type = "SLICE"
        context.thread_count = 1
        if self._whole and self._fps >= DENSE_FPS:
            context.skip_frame = "NONREF"
        context.options = {
            "max_pixels": str(2 * self._limits.pixels + MARGIN_PX),
            "err_detect": "explode",  # a patched-up face may look like somebody else
        }

    def _frame_at(self, time_s: float) -> av.VideoFrame | None:
        """Frames are found by their own time stamps: the container's rate is nominal, and for
        recordings of screens and browsers plainly wrong."""
        if not self._begun:
            self._begun = True
            if time_s > 0 and self._may_skip_to(time_s):
                return self._frame_after_seek(time_s)
            if not self._whole and time_s <= 0:
                self._hurry_first()
            return self._frame_from(time_s)
        repeats, self._first_is_repeated = self._first_is_repeated, False
        if not self._whole and self._may_skip_to(time_s):
            return self._frame_after_seek(time_s)
        if repeats:
            self._clock.seek(0.0, 0.0)
        return self._frame_from(time_s)

    def _frame_from(self, time_s: float) -> av.VideoFrame | None:
        while (frame := self._next()) is not None:
            stamp = frame.dts if frame.pts is None else frame.pts
            now_s = self._clock.at(None if stamp is None else self._seconds(stamp))
            self._may_seek &= not self._clock.jumps
            self._check_length(now_s)
            if self._whole:
                self._kept.add(frame, now_s)
            if self._clock.moving_s >= time_s - 0.5 / self._fps:
                return frame
        return None

    def _frame_after_seek(self, time_s: float) -> av.VideoFrame | None:
        """Videos without full key frames (intra refresh) give their first picture some time after
        the place that a seek leads to. Then an earlier place is sought, and from now on always.

        Where no key frame lies between the last frame and the wanted one, later seeks would decode
        the same part again and again, so there are none.
        """
        last_s = self._clock.time_s
        wanted_s = self._player_s(time_s)
        self._seek(wanted_s, time_s)
        frame = self._frame_from(time_s)
        if frame is None or self._decoder.first_key is None:
            return frame
        key_s = self._seconds(self._decoder.first_key) - self._clock.stamp_s(0.0)
        self._may_seek &= key_s > last_s
        late_s, lag_s = self._clock.time_s - wanted_s, self._clock.time_s - key_s
        if late_s < 2 / self._fps or key_s > wanted_s or not self._lag_s < lag_s <= MAX_LAG_S:
            return frame
        self._lag_s = lag_s
        self._seek(wanted_s, time_s)
        return self._frame_from(time_s)

    def _hurry_first(self) -> None:
        """Decodes the first key frame alone, where that is the first frame.

        A decoder holds frames back until it has seen enough to put them in order; told that there
        are no more, it hands them out at once. To go on from there it gets the packet again, and
        every other packet that was read. Where the first packet is not a key frame, gives no
        picture (an edit list hides it, a recovery point needs its successors) or is shown after
        others, the video is decoded from its first packet on.
        """
        packet = next(self._packets, None)
        if packet is None:
            return
        self._again.append(packet)
        if not packet.is_keyframe or packet.is_discard or not self._is_shown_first(packet):
            return
        self._ready.extend([*self._decoder.decode(packet), *self._decoder.flush()])
        self._first_is_repeated = bool(self._ready)
        self._decoder.begin_anew()

    def _is_shown_first(self, packet: AnyPacket) -> bool:
        """An MP4 says when its first frame is shown. Of other files the next packets are read:
        those that are shown before a key frame come right after it."""
        if packet.pts is None:
            return True
        if self._demuxer == "mov" and self._stream.start_time is not None:
            return packet.pts <= self._stream.start_time
        following = list(islice(self._packets, REORDERED_FRAMES))
        self._again.extend(following)
        return all(each.pts is None or each.pts >= packet.pts for each in following)

    def _player_s(self, moving_s: float) -> float:
        """Where a player shows that time, if nothing stands still on the way there. If something
        does, the place is reached too early, never too late."""
        return self._clock.time_s + moving_s - self._clock.moving_s

    def _may_skip_to(self, time_s: float) -> bool:
        """Whether a key frame lies between the last frame and that time. Not where the clock
        jumps: stamps do not lead to a place then."""
        step_s = time_s - self._clock.moving_s
        if not self._may_seek or step_s < 2 / self._fps:
            return False
        wanted_s = self._player_s(time_s)
        if self._demuxer in HAS_KEY_INDEX:
            entries = self._stream.index_entries
            found = entries.search_timestamp(self._ticks(wanted_s))
            if found >= 0:
                key_s = self._seconds(entries[found].timestamp) - self._clock.stamp_s(0.0)
                if key_s > self._clock.time_s + 1 / self._fps:
                    return True
            if self._demuxer in HAS_WHOLE_INDEX and self._stream.frames:
                return False
        return step_s > SEEK_FROM_S and wanted_s < self.duration_s

    def _seek(self, wanted_s: float, moving_s: float) -> None:
        """To the last key frame before that time. Where that fails, decoding goes on."""
        self._has_sought = True
        target, margin = self._ticks(max(0.0, wanted_s - self._lag_s)), 0
        if self._demuxer not in HAS_KEY_INDEX:
            target, margin = self._last_key(target), int(SEEK_MARGIN_S / self._tick_s)
        try:
            self._container.seek(target - margin, stream=self._stream)
        except av.FFmpegError:
            return
        self._again.clear()
        self._ready.clear()
        self._packets = packets_of(self._container, self._stream)
        if self._demuxer not in HAS_KEY_INDEX:
            self._packets = dropwhile(lambda each: not _is_key_from(each, target), self._packets)
        self._clock.seek(wanted_s, moving_s)
        self._decoder.begin_anew()

    def _last_key(self, target: int) -> int:
        """The stamp of the last key frame that is not after the target.

        A seek in an MPEG stream leads to any packet, so packets are read from some seconds before
        the target on, and from further back where no key frame is among them.
        """
        back = int(SEEK_FROM_S / self._tick_s)
        start = self._ticks(0.0)
        while True:
            try:
                self._container.seek(target - back, stream=self._stream)
            except av.FFmpegError:
                return target
            found: int | None = None
            for packet in packets_of(self._container, self._stream):
                if packet.pts is not None and packet.pts > target:
                    break
                if packet.is_keyframe and packet.pts is not None:
                    found = packet.pts
            if found is not None or target - back <= start:
                return start if found is None else found
            back *= 2

    def _seconds(self, ticks: int) -> float:
        return float(ticks * self._tick_s)

    def _ticks(self, time_s: float) -> int:
        return int(self._clock.stamp_s(time_s) / self._tick_s)

    def _next(self) -> av.VideoFrame | None:
        """The next frame in order of time; None at the end."""
        while not self._ready and self._decoder.failures < MAX_DAMAGED_PACKETS:
            packet = self._again.popleft() if self._again else next(self._packets, None)
            self._ready.extend(self._decoder.decode(packet))
            if packet is None:
                break
        return self._ready.popleft() if self._ready else None

    def _check_pixels(self, width: int, height: int) -> None:
        if width * height > self._limits.pixels:
            raise VideoTooLarge(
                f"a frame of {width} x {height} pixels is more than MAX_VIDEO_PX"
                f" ({self._limits.pixels})"
            )

    def _check_length(self, seconds: float) -> None:
        if seconds > self._limits.seconds:
            raise VideoTooLarge(
                f"{seconds:.0f} s is more than MAX_VIDEO_S ({self._limits.seconds:g} s)"
            )


def _rate(stream: VideoStream) -> float:
    """Frames per second, as far as that can be believed."""
    rates = (float(rate or 0) for rate in (stream.average_rate, stream.base_rate))
    return next((fps for fps in rates if MIN_FPS <= fps <= MAX_FPS), FALLBACK_FPS)


def _is_key_from(packet: AnyPacket, stamp: int) -> bool:
    return packet.is_keyframe and (packet.pts is None or packet.pts >= stamp)


def _noted(packets: Iterator[AnyPacket], seen: list[AnyPacket]) -> Iterator[AnyPacket]:
    for packet in packets:
        seen.append(packet)
        yield packet
