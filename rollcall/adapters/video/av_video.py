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
from typing import BinaryIO, TypeAlias

import av
import numpy as np
from av.video.stream import VideoStream

from rollcall.core.containers import HEAD_BYTES, container_of
from rollcall.core.errors import NotAVideo, VideoTooLarge
from rollcall.core.types import Frame, Pixels, VideoLimits

DEMUXERS = {
    "mp4": "mov",
    "matroska": "matroska",
    "flv": "flv",
    "ogg": "ogg",
    "asf": "asf",
    "mpeg-ps": "mpeg",
    "mpeg-video": "mpegvideo",
    "mpeg-ts": "mpegts",
    "avi": "avi",
}
"""FFmpeg's names of the containers. It is told which one to use: left to guess, it would take a
playlist for one too, and open what the playlist names."""

_DELIVERY = "h264 hevc av1 libdav1d vp8 vp9 libvpx libvpx-vp9 vp3 theora vp6 vp6f"
_OLDER = "mpeg1video mpeg2video mpeg4 msmpeg4 msmpeg4v1 msmpeg4v2 mjpeg h261 h263 h263i"
_WINDOWS_AND_FLASH = "vc1 wmv1 wmv2 wmv3 flv svq1 svq3 cinepak"
_EDITING = "prores dnxhd dvvideo ffv1 huffyuv rawvideo"
CODECS = frozenset(" ".join((_DELIVERY, _OLDER, _WINDOWS_AND_FLASH, _EDITING)).split())
"""Decoders for what cameras, phones, browsers and editors write. FFmpeg has hundreds more, for
games and screen formats of the nineties, and those are where its faults are found."""

HEADER_SAYS_ALL = {"mov", "matroska", "avi", "flv"}
"""For these nothing needs to be decoded before the first frame is wanted."""

SEEK_FROM_S = 10.0
"""Without a list of key frames, a step longer than this seeks and a shorter one decodes on. Key
frames lie up to 10 s apart, so a seek over less may decode more than it skips."""

FALLBACK_FPS = 25.0
"""For a container that tells no rate, or an absurd one."""

MAX_FPS = 250.0
"""FFmpeg tells 1000 for jittered millisecond stamps."""

MARGIN_PX = 1 << 20
"""FFmpeg counts its own edges as well; this limit only keeps it from asking for gigabytes before
the frame's true size is known."""

DENSE_FPS = 10.0
"""From this rate on, frames that no other frame builds upon may be left out of a whole walk: the
next one is a tenth of a second away."""

AnyPacket: TypeAlias = "av.Packet[VideoStream]"

NO_TIME_YET_S = -1.0
"""Before the first frame, and where decoding starts anew: the next stamp counts, whatever it is."""

MAX_DAMAGED_PACKETS = 1000
"""In a row. Behind so many there is nothing more to come."""


@contextmanager
def open_video(file: BinaryIO, limits: VideoLimits, *, whole: bool = False) -> Iterator[AvVideo]:
    """The video in a seekable file, whose name means nothing: its first bytes decide.

    `whole` says that all of it will be looked at, and not only some frames.
    Raises NotAVideo or VideoTooLarge.
    """
    head = file.read(HEAD_BYTES)
    container = container_of(head)
    if container is None:
        kind = "empty" if not head else "not a video container (MP4, MKV, AVI, ...)"
        raise NotAVideo(f"the file is {kind}; check that the upload was complete")
    file.seek(0)
    try:
        demuxer = DEMUXERS[container]
        opened = av.open(file, "r", format=demuxer, options=_options(demuxer))
    except (av.FFmpegError, ValueError) as error:
        reason = "the video cannot be opened: its index is damaged or cut off"
        raise NotAVideo(reason) from error
    with opened:
        video = AvVideo(opened, limits, whole=whole)
        try:
            yield video
        finally:
            video.let_go()


def _options(demuxer: str) -> dict[str, str]:
    """Nothing else is opened on the way, whatever the file asks for."""
    options = {"protocol_whitelist": "none", "format_whitelist": demuxer}
    if demuxer in HEADER_SAYS_ALL:
        options |= {"skip_frame": "all", "probesize": "65536"}
    return options


class AvVideo:
    """Implements `rollcall.core.types.Video`."""

    def __init__(
        self, container: av.container.InputContainer, limits: VideoLimits, *, whole: bool
    ) -> None:
        self._container = container
        self._stream = _picture_track(container)
        self._limits = limits
        self._tick_s = self._stream.time_base or Fraction(1, 1000)
        self._fps = _rate(self._stream)
        self._start: int | None = self._stream.start_time
        self._time_s = NO_TIME_YET_S
        self._begun = False
        self._key_seen = False
        self._sound = True
        self._failures = 0
        self.damaged = False
        self._packets = self._demux()
        self._again: deque[AnyPacket] = deque()
        self._ready: deque[av.VideoFrame] = deque()
        self._whole = whole
        self._configure()
        self.width_px = self._stream.width
        self.height_px = self._stream.height
        self.duration_s = self._duration_s()
        self._check_pixels(self.width_px * self.height_px)
        self._check_length(self.duration_s)

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """For each time the first frame that is not before it; times only grow.

        Raises NotAVideo when not even the first frame can be decoded. A video that is cut off
        ends with its last good frame.
        """
        seen_any = False
        for time_s in times_s:
            found = self._frame_at(time_s)
            if found is None:
                break
            seen_any = True
            yield Frame(self._time_s, self._upright(found))
        if not seen_any:
            raise NotAVideo("no frame of the video can be decoded; convert it, or upload it again")

    def let_go(self) -> None:
        """Of pictures and packets: a generator of ours refers to us, and such circles live on until
        Python looks for them."""
        self._ready.clear()
        self._again.clear()
        self._packets = iter(())

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
        if not (self._begun or self._whole):
            self._hurry_first()
        elif self._may_skip_to(time_s):
            self._seek(time_s)
        elif self._again:
            self._time_s = NO_TIME_YET_S
        self._begun = True
        while (frame := self._next()) is not None:
            self._time_s = self._stamp_s(frame)
            self._check_length(self._time_s)
            if self._time_s >= time_s - 0.5 / self._fps:
                return frame
        return None

    def _hurry_first(self) -> None:
        """Decodes the first key frame alone.

        A decoder holds frames back until it has seen enough to put them in order; told that there
        are no more, it hands them out at once. To go on behind it, it gets the packet again.
        """
        for packet in self._packets:
            if packet.is_keyframe:
                self._ready.extend(self._decode(packet))
                self._ready.extend(self._decode(None))
                self._stream.codec_context.flush_buffers()
                self._again.append(packet)
            if self._ready:
                break

    def _may_skip_to(self, time_s: float) -> bool:
        """Whether a key frame lies between the last frame and that time."""
        if time_s - self._time_s < 2 / self._fps:
            return False
        entries = self._stream.index_entries
        found = entries.search_timestamp(self._ticks(time_s))
        if found >= 0:
            key_s = (entries[found].timestamp - (self._start or 0)) * self._tick_s
            if key_s > self._time_s + 1 / self._fps:
                return True
        return time_s - self._time_s > SEEK_FROM_S and time_s < self.duration_s

    def _seek(self, time_s: float) -> None:
        """To the last key frame before that time. Where that fails, decoding goes on."""
        try:
            self._container.seek(self._ticks(time_s), stream=self._stream)
        except av.FFmpegError:
            return
        self._again.clear()
        self._ready.clear()
        self._packets = self._demux()
        self._time_s = NO_TIME_YET_S

    def _ticks(self, time_s: float) -> int:
        return int(time_s / self._tick_s) + (self._start or 0)

    def _next(self) -> av.VideoFrame | None:
        """The next frame in order of time; None at the end."""
        while not self._ready and self._failures < MAX_DAMAGED_PACKETS:
            packet = self._again.popleft() if self._again else next(self._packets, None)
            self._ready.extend(self._decode(packet))
            if packet is None:
                break
        return self._ready.popleft() if self._ready else None

    def _demux(self) -> Iterator[AnyPacket]:
        """The packets up to the end, or up to where the file is cut off."""
        try:
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        except av.FFmpegError:
            return

    def _decode(self, packet: AnyPacket | None) -> list[av.VideoFrame]:
        """The sound frames: none of a damaged packet, and none that builds upon it."""
        self._key_seen |= packet is not None and packet.is_keyframe
        try:
            frames = self._stream.decode(packet)
        except av.EOFError:  # it was told before that there is no more
            return []
        except av.FFmpegError:
            self._failures += 1
            self._note_damage()
            return []
        self._failures = 0
        return [frame for frame in frames if self._is_sound(frame)]

    def _is_sound(self, frame: av.VideoFrame) -> bool:
        """Frames behind a damaged one show what was never there, up to the next key frame."""
        if frame.is_corrupt:
            self._note_damage()
        elif frame.key_frame:
            self._sound = True
        return self._sound

    def _note_damage(self) -> None:
        """A recording that begins between two key frames is not damaged."""
        self._sound = False
        self.damaged |= self._key_seen

    def _stamp_s(self, frame: av.VideoFrame) -> float:
        """From the video's start. Where stamps stand still or run backwards, the rate counts."""
        if frame.pts is not None:
            if self._start is None:
                self._start = frame.pts
            stamp_s = float((frame.pts - self._start) * self._tick_s)
            if stamp_s > self._time_s:
                return max(stamp_s, 0.0)
        return max(self._time_s, 0.0) + (1 / self._fps if self._time_s >= 0 else 0.0)

    def _upright(self, frame: av.VideoFrame) -> Pixels:
        """RGB, turned as the track's display matrix says."""
        self._check_pixels(frame.width * frame.height)
        try:
            pixels = frame.to_ndarray(format="rgb24")
        except (av.FFmpegError, ValueError) as error:
            raise NotAVideo(f"frames of the kind {frame.format.name} cannot be shown") from error
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(pixels, turns) if turns else pixels, dtype=np.uint8)

    def _duration_s(self) -> float:
        """What the container says; 0 when it says nothing. `frames` does not rely on it."""
        if self._stream.duration:
            return max(0.0, float(self._stream.duration * self._tick_s))
        return max(0.0, (self._container.duration or 0) / av.time_base)

    def _check_pixels(self, pixels: int) -> None:
        if pixels > self._limits.pixels:
            raise VideoTooLarge(
                f"a frame of {pixels} pixels is more than MAX_VIDEO_PX ({self._limits.pixels})"
            )

    def _check_length(self, seconds: float) -> None:
        if seconds > self._limits.seconds:
            raise VideoTooLarge(
                f"{seconds:.0f} s is more than MAX_VIDEO_S ({self._limits.seconds:g} s)"
            )


def _picture_track(container: av.container.InputContainer) -> VideoStream:
    """The best video track; the cover picture of a sound file is none."""
    stream = container.streams.best("video")
    cover = av.stream.Disposition.attached_pic
    if not isinstance(stream, VideoStream) or stream.disposition & cover:
        raise NotAVideo("the file has no video track; does it hold only sound?")
    if stream.codec_context is None or stream.codec_context.name not in CODECS:
        name = stream.codec_context.name if stream.codec_context else "an unknown one"
        raise NotAVideo(f"the video's codec is {name}; convert it to H.264 and upload it again")
    return stream


def _rate(stream: VideoStream) -> float:
    """Frames per second, as far as that can be believed."""
    fps = float(stream.average_rate or stream.base_rate or 0)
    return fps if 0 < fps <= MAX_FPS else FALLBACK_FPS
