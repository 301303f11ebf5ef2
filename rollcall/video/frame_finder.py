"""Finds the frame that a player shows at a given time, and decodes as little as possible for it.

`AvVideo` asks for frames at ascending times. There are three ways to reach the next frame:

- The first frame is usually a key frame, which can be decoded alone.
- If a key frame lies between the last frame and the wanted time, a seek leads there, and the
  frames that were skipped are never decoded.
- Otherwise every frame up to the wanted one is decoded in order.

Frames are found by their time stamps, and not by counting: a container's frame rate is nominal, and
in recordings of screens and browsers it is plainly wrong. `MediaClock` turns stamps into seconds of
content. The times that callers ask for are values of `MediaClock.moving_s`, which counts a still
picture as two seconds at most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice

import av
from av.video.stream import VideoStream

from rollcall.core.media_clock import MediaClock
from rollcall.core.types import VideoLimits
from rollcall.video.kept_frames import KeptFrames
from rollcall.video.opening import (
    HAS_KEY_INDEX,
    HAS_WHOLE_INDEX,
    AnyPacket,
    VideoContainer,
    packets_of,
)
from rollcall.video.packet_decoder import MAX_DAMAGED_PACKETS, PacketDecoder
from rollcall.video.seeking import packets_from_key
from rollcall.video.video_limits import check_length

MAX_LAG_S = 10.0
"""The longest time that a video with intra refresh may need to complete its first picture. Such a
video has no full key frames: each frame refreshes a strip, until the whole picture is complete."""

MIN_BLIND_SEEK_S = 10.0
"""The smallest step for which to seek in a file without a list of key frames. Key frames lie up to
10 s apart, so a seek over a shorter step may decode more than it skips."""

MAX_REORDERED_FRAMES = 16
"""How many frames may be decoded before others and shown after them, in H.264 and HEVC."""


class FrameFinder:
    """Reads and decodes one track from its start to its end."""

    def __init__(
        self,
        container: VideoContainer,
        stream: VideoStream,
        limits: VideoLimits,
        *,
        frame_s: float,
        duration_s: float,
        may_seek: bool,
        whole: bool,
        kept: KeptFrames,
    ) -> None:
        """`frame_s` is the duration of a frame. A video that is opened as `whole` is decoded from
        start to end without seeking, and its frames are put into `kept`."""
        self.may_seek = may_seek
        """Whether seeks are useful. They are not if the clock jumps, because the same stamp may
        then occur at several places, or if seeks decode the same part again and again."""
        self.has_sought = False
        """Whether a seek skipped part of the video. If so, the frames that were decoded do not show
        how long the video is."""
        self.has_begun = False
        """Whether the first frame has been asked for."""
        self.decoder = PacketDecoder(stream)
        self._stream = stream
        self._demuxer = container.demuxer
        self._container = container.opened
        self._limits = limits
        self._frame_s = frame_s
        self._duration_s = duration_s
        self._whole = whole
        self._kept = kept
        self._tick_s = stream.time_base or Fraction(1, 1000)
        start = stream.start_time
        self.clock = MediaClock(frame_s, None if start is None else self._seconds(start))
        self._first_is_repeated = False
        """Whether the first frame was decoded alone, so that it will be decoded a second time."""
        self._lag_s = 0.0
        """In a video with intra refresh, how long before the wanted time a seek aims."""
        self._packets = packets_of(self._container, stream)
        self._read_early: deque[AnyPacket] = deque()
        """Packets that were read ahead to inspect them, and still have to be decoded."""
        self._decoded: deque[av.VideoFrame] = deque()
        """Frames that came out of the decoder but were not compared with the wanted time yet."""

    def frame_at(self, moving_s: float) -> av.VideoFrame | None:
        """Return the first frame that is not before this time; None after the last frame.

        Each call must ask for a later time. Afterwards `clock` holds the time of the frame. Raises
        VideoTooLong for a video that turns out to be longer than allowed.
        """
        if not self.has_begun:
            self.has_begun = True
            # The scan `timeline` splits a long video between two readers, and the second reader
            # begins in the middle.
            if moving_s > 0 and self._has_key_before(moving_s):
                return self._frame_after_seek(moving_s)
            if not self._whole and moving_s <= 0:
                self._decode_first_key_alone()
            return self._frame_from(moving_s)
        # A video that is opened as `whole` is decoded without seeking, so that `kept` gets the
        # frames between the wanted ones.
        is_repeated, self._first_is_repeated = self._first_is_repeated, False
        if not self._whole and self._has_key_before(moving_s):
            return self._frame_after_seek(moving_s)
        if is_repeated:
            self.clock.seek(0.0, 0.0)
        return self._frame_from(moving_s)

    def note_packets(self, noted: list[AnyPacket]) -> Iterator[AnyPacket]:
        """Append every packet that is read from now on to `noted`.

        Returns an iterator over the packets that have not been read yet.
        """
        unread = self._packets

        def noting() -> Iterator[AnyPacket]:
            for packet in unread:
                noted.append(packet)
                yield packet

        self._packets = noting()
        return unread

    def release(self) -> None:
        """Drop all frames and packets."""
        self._decoded.clear()
        self._read_early.clear()
        self._packets = iter(())

    def _frame_from(self, moving_s: float) -> av.VideoFrame | None:
        """Decode in order up to the first frame that is not before this time."""
        while (frame := self._next()) is not None:
            stamp = frame.dts if frame.pts is None else frame.pts
            time_s = self.clock.advance(None if stamp is None else self._seconds(stamp))
            self.may_seek &= not self.clock.jumps
            check_length(time_s, self._limits)
            if self._whole:
                self._kept.add(frame, time_s)
            # Half a frame of tolerance: stamps are rounded to ticks, and 0.04 s may become 0.039 s.
            if self.clock.moving_s >= moving_s - 0.5 * self._frame_s:
                return frame
        return None

    def _next(self) -> av.VideoFrame | None:
        """Return the next frame in order of presentation; None at the end."""
        while not self._decoded and self.decoder.failures < MAX_DAMAGED_PACKETS:
            packet = self._read_early.popleft() if self._read_early else next(self._packets, None)
            self._decoded.extend(self.decoder.decode(packet))
            if packet is None:
                break
        return self._decoded.popleft() if self._decoded else None

    def _decode_first_key_alone(self) -> None:
        """Decode the first packet without its successors, if it is the first frame that is shown.

        A decoder holds frames back until it has seen enough of them to sort them. If it is flushed
        after one packet, it returns that frame at once. Afterwards the decoder starts again: it
        gets the same packet a second time, and then the packets after it.

        Sometimes the first packet is not the frame that is shown first: it is not a key frame, an
        edit list hides it (`is_discard`), frames after it are shown earlier, or it gives a complete
        picture only together with later packets (intra refresh). Then decoding simply begins at
        that packet.
        """
        packet = next(self._packets, None)
        if packet is None:
            return
        self._read_early.append(packet)
        if not packet.is_keyframe or packet.is_discard or not self._is_shown_first(packet):
            return
        self._decoded.extend([*self.decoder.decode(packet), *self.decoder.flush()])
        self._first_is_repeated = bool(self._decoded)
        self.decoder.begin_anew()

    def _is_shown_first(self, packet: AnyPacket) -> bool:
        """Whether no frame is shown before this first packet of the file."""
        if packet.pts is None:
            return True
        if self._demuxer == "mov" and self._stream.start_time is not None:
            return packet.pts <= self._stream.start_time
        # Only an MP4's index gives the first stamp. In other files, frames that are shown before a
        # key frame come right after it, so the next packets are read.
        following = list(islice(self._packets, MAX_REORDERED_FRAMES))
        self._read_early.extend(following)
        return all(each.pts is None or each.pts >= packet.pts for each in following)

    def _has_key_before(self, moving_s: float) -> bool:
        """Whether a key frame lies, or is likely to lie, between the last frame and this time."""
        step_s = moving_s - self.clock.moving_s
        if not self.may_seek or step_s < 2 * self._frame_s:
            return False
        wanted_s = self._player_s(moving_s)
        if self._demuxer in HAS_KEY_INDEX:
            entries = self._stream.index_entries
            number = entries.search_timestamp(self._ticks(wanted_s))
            if number >= 0:
                key_s = self._seconds(entries[number].timestamp) - self.clock.stamp_s(0.0)
                if key_s > self.clock.time_s + self._frame_s:
                    return True
            if self._demuxer in HAS_WHOLE_INDEX and self._stream.frames:
                return False
        return step_s > MIN_BLIND_SEEK_S and wanted_s < self._duration_s

    def _frame_after_seek(self, moving_s: float) -> av.VideoFrame | None:
        """Seek to the last key frame before this time, and decode from there to the wanted frame.

        In a video with intra refresh, the first complete picture comes some time after the place
        that a seek leads to. If it comes after the wanted time, seek once more, to a place that is
        earlier by the same delay, and aim that much earlier from now on.
        """
        last_s = self.clock.time_s
        wanted_s = self._player_s(moving_s)
        self._seek(wanted_s, moving_s)
        frame = self._frame_from(moving_s)
        if frame is None or self.decoder.first_key is None:
            return frame
        key_s = self._seconds(self.decoder.first_key) - self.clock.stamp_s(0.0)
        # If a seek leads to a place before the last frame, part of the video is decoded twice.
        # Later seeks would repeat that, so there are no more seeks.
        self.may_seek &= key_s > last_s
        late_s, lag_s = self.clock.time_s - wanted_s, self.clock.time_s - key_s
        is_late = late_s >= 2 * self._frame_s and key_s <= wanted_s
        if not is_late or not self._lag_s < lag_s <= MAX_LAG_S:
            return frame
        self._lag_s = lag_s
        self._seek(wanted_s, moving_s)
        return self._frame_from(moving_s)

    def _seek(self, wanted_s: float, moving_s: float) -> None:
        """Continue at the last key frame before this time. If the seek fails, continue in order."""
        self.has_sought = True
        target = self._ticks(max(0.0, wanted_s - self._lag_s))
        start = self._ticks(0.0)
        packets = packets_from_key(self._container, self._stream, self._demuxer, target, start)
        if packets is None:
            return
        self._read_early.clear()
        self._decoded.clear()
        self._packets = packets
        self.clock.seek(wanted_s, moving_s)
        self.decoder.begin_anew()

    def _player_s(self, moving_s: float) -> float:
        """Return the player's time for `moving_s`, if no picture stands still before it.

        If a picture does stand still, the returned time is too early, but never too late.
        """
        return self.clock.time_s + moving_s - self.clock.moving_s

    def _seconds(self, ticks: int) -> float:
        return float(ticks * self._tick_s)

    def _ticks(self, time_s: float) -> int:
        return int(self.clock.stamp_s(time_s) / self._tick_s)
