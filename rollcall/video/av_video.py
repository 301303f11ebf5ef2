"""Reads a video file with FFmpeg's libraries, through PyAV.

The decoder's child process (`child.py`) calls `open_video`. The service itself never does, because
a stranger's video might take over the process that reads it. The service uses `DecoderPool`
instead.

FFmpeg's libraries are used directly because they are faster than OpenCV's reader: on eight real
clips, opening the file and decoding the first frame took two thirds less CPU time. Nothing is
decoded just to learn what the header already says, and the first key frame is available before its
neighbours are decoded (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from itertools import chain
from typing import BinaryIO

from av.video.stream import VideoStream

from rollcall.core.errors import NotAVideo
from rollcall.core.types import Frame, VideoLimits
from rollcall.video.content_length import measure, read_length
from rollcall.video.frame_finder import FrameFinder
from rollcall.video.kept_frames import KeptFrames
from rollcall.video.key_index import IndexedKeys, KeyIndex, read_key_index
from rollcall.video.key_looks import KeyLooks, Look
from rollcall.video.opening import HAS_WHOLE_INDEX, AnyPacket, VideoContainer
from rollcall.video.read_ahead import ReadAhead
from rollcall.video.shown_frames import Screen
from rollcall.video.tracks import choose_track
from rollcall.video.video_limits import check_length, check_pixels

FALLBACK_FPS = 25.0
"""Frame rate that is assumed if the container gives none, or an absurd one."""

MIN_FPS, MAX_FPS = 1.0, 250.0
"""Frame rates outside this range are not believed. FFmpeg reports 1000 if time stamps jitter by
milliseconds, and nearly 0 if the clock jumps."""

MARGIN_PX = 1 << 20
"""Added to the limit that is passed to FFmpeg, because FFmpeg also counts the padding at the edges.
That limit only keeps FFmpeg from allocating gigabytes before the true size of a frame is known."""

DENSE_FPS = 10.0
"""At this frame rate or a higher one, scans of the whole video do not decode frames that no other
frame refers to. Such scans are `timeline`, and `auto` in long videos."""

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
    """Open the video in a seekable file. The file's first bytes decide the format, not its name.

    `whole` means that the video will be decoded from start to end without seeking (the scan
    `timeline`); then up to `kept_bytes` of decoded frames are kept for `kept_frame`. `track` is the
    number of the video track, counted from 0 in the order of `choose_track`. Raises NotAVideo,
    VideoTooLarge or VideoTooLong.
    """
    container = VideoContainer(file)
    try:
        video = AvVideo(container, limits, whole=whole, track=track, kept_bytes=kept_bytes)
        try:
            yield video
        finally:
            video.release()
    finally:
        container.close()


class AvVideo:
    """An open video. Implements `rollcall.core.protocols.Video`."""

    def __init__(
        self,
        container: VideoContainer,
        limits: VideoLimits,
        *,
        whole: bool,
        track: int,
        kept_bytes: int,
    ) -> None:
        self._container = container
        self._demuxer = container.demuxer
        self._limits = limits
        self._whole = whole
        stream, self.track, self.tracks = choose_track(container, track, limits.pixels)
        fps = _frame_rate(stream)
        self._is_dense = fps >= DENSE_FPS
        self._frame_s = 1 / fps
        self._stream_index = stream.index
        length = read_length(container, stream, self._frame_s, limits.seconds)
        self.duration_s, self.moving_s = length.time_s, length.moving_s
        # Reading the length may open the file again, and PyAV's old streams are invalid after that.
        self._stream = container.track(self._stream_index)
        check_length(self.duration_s, limits)
        check_pixels(self._stream.width, self._stream.height, limits)
        self._screen = Screen(self._stream, self._demuxer, limits.pixels)
        self._kept = KeptFrames(self._frame_s, kept_bytes if whole else 0)
        self._finder = FrameFinder(
            container,
            self._stream,
            limits,
            frame_s=self._frame_s,
            duration_s=self.duration_s,
            may_seek=not length.jumps,
            whole=whole,
            kept=self._kept,
        )
        self._configure_decoder()

    @property
    def damaged(self) -> bool:
        return self._finder.decoder.damaged

    @property
    def pixels(self) -> int:
        """Number of pixels in a frame, as the header claims."""
        return self._stream.width * self._stream.height

    @property
    def divisible(self) -> bool:
        """Whether `frames` may begin anywhere. False if the video is not opened as `whole`."""
        may_seek = self._whole and self._finder.may_seek
        return may_seek and self._index is not None and self._index.divisible

    @cached_property
    def _index(self) -> KeyIndex | None:
        return read_key_index(self._stream, self._demuxer, self._frame_s)

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """Yield, for each time, the first frame that is not before it. Times must be ascending.

        The times are values of `MediaClock.moving_s`. Decoding begins at the last key frame before
        the first time, if a seek can lead there. A video that is cut off ends with its last good
        frame. Raises NotAVideo if not a single frame can be decoded.
        """
        clock = self._finder.clock
        seen_any = False
        for time_s in times_s:
            frame = self._finder.frame_at(time_s)
            if frame is None:
                self.moving_s = self._true_moving_s()
                self._correct_duration(clock.time_s)
                break
            seen_any = True
            check_pixels(frame.width, frame.height, self._limits)
            yield Frame(clock.time_s, self._screen.show(frame))
        if not seen_any:
            raise NotAVideo(NOTHING_DECODED)

    def key_frames(self, step_s: float) -> Iterator[Frame]:
        """Yield frames of the whole video, at most `step_s` apart.

        Where key frames lie close enough together, no other frame is decoded. A picture that stands
        still for longer than a step is yielded once. Raises NotAVideo if not a single frame can be
        decoded.
        """
        clock = self._finder.clock
        read: list[AnyPacket] = []
        unread = self._finder.note_packets(read)
        frame = self._finder.frame_at(0.0)
        if frame is None:
            raise NotAVideo(NOTHING_DECODED)
        last = first = Look(frame, clock.time_s, clock.moving_s)
        if self._is_dense:
            self._stream.codec_context.skip_frame = "NONREF"
        keys = self._keys(read, unread, step_s)
        looks = KeyLooks(
            keys,
            self._finder.decoder,
            frame_s=self._frame_s,
            tick_s=self._stream.time_base or Fraction(1, 1000),
            step_s=step_s,
            duration_s=self.duration_s,
        )
        for last in looks.looks_from(first):
            check_length(last.time_s, self._limits)
            check_pixels(last.frame.width, last.frame.height, self._limits)
            yield Frame(last.time_s, self._screen.show(last.frame))
        if keys.end is None:
            return
        self._correct_duration(keys.end.time_s)
        if keys.end.moving_s - last.moving_s > step_s + self._frame_s:
            # The index lists more frames, but the file is cut off after the last look.
            self.moving_s = last.moving_s + self._frame_s

    def kept_frame(self, after_s: float, before_s: float) -> Frame | None:
        """Return the recently decoded frame that is nearest to the middle between two times."""
        kept = self._kept.nearest(after_s, before_s)
        return kept and Frame(kept.time_s, self._screen.show(kept.frame))

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """Return the time of the first frame after a cut between two recently decoded frames."""
        return self._kept.cut_between(after_s, before_s)

    def release(self) -> None:
        """Drop pictures and packets at once.

        This object's generators refer back to it, and Python frees such cycles only when the
        garbage collector runs.
        """
        self._finder.release()
        self._kept.clear()

    def _keys(
        self, read: list[AnyPacket], unread: Iterator[AnyPacket], hold_s: float
    ) -> IndexedKeys | ReadAhead:
        """Return the key frames: from the index if it is complete, or else by reading packets."""
        # An MP4's index holds decoding stamps. A key frame is shown some ticks later; the number of
        # ticks is the same for all key frames.
        stamps = [(packet.pts, packet.dts) for packet in read if packet.is_keyframe]
        delays = [pts - dts for pts, dts in stamps if pts is not None and dts is not None]
        shift = delays[0] if delays else 0
        index = read_key_index(self._stream, self._demuxer, self._frame_s, hold_s, shift)
        if index is not None and index.keys and self._finder.may_seek:
            return IndexedKeys(index, self._container.opened, self._stream)
        tick_s = self._stream.time_base or Fraction(1, 1000)
        start_s = self._finder.clock.stamp_s(0.0)
        return ReadAhead(chain(read, unread), tick_s, self._frame_s, start_s, hold_s)

    def _correct_duration(self, last_s: float) -> None:
        """Set the duration to the end of the last frame.

        An MP4 or AVI keeps the duration from its header, because the header says how long the video
        was before the file was cut off.
        """
        if last_s > 0 and self._demuxer not in HAS_WHOLE_INDEX:
            self.duration_s = last_s + self._frame_s

    def _true_moving_s(self) -> float:
        """Return the length of the content after the end was reached."""
        seen_s = max(0.0, self._finder.clock.moving_s) + self._frame_s
        if not self._finder.has_sought:
            return seen_s
        if seen_s > self.moving_s / 2:
            return self.moving_s
        # Seeks skipped parts, and the end came much too early. So the header's length is wrong, and
        # only the packets show the true length.
        self._container.reopen()
        stream = self._container.track(self._stream_index)
        opened, max_s = self._container.opened, self._limits.seconds
        return measure(opened, stream, self._frame_s, max_s).moving_s

    def _configure_decoder(self) -> None:
        context = self._stream.codec_context
        # One thread only: several threads would use more CPU time in total, and in a scan of the
        # whole video the other core is busy with the search for faces.
        self._stream.thread_type = "SLICE"
        context.thread_count = 1
        if self._whole and self._is_dense:
            context.skip_frame = "NONREF"
        context.options = {
            "max_pixels": str(2 * self._limits.pixels + MARGIN_PX),
            # By default FFmpeg patches up damaged pictures, and a patched-up face may look like
            # somebody else.
            "err_detect": "explode",
        }


def _frame_rate(stream: VideoStream) -> float:
    """Return the frames per second, or FALLBACK_FPS if the container's rates are not credible."""
    rates = (float(rate or 0) for rate in (stream.average_rate, stream.base_rate))
    return next((fps for fps in rates if MIN_FPS <= fps <= MAX_FPS), FALLBACK_FPS)
