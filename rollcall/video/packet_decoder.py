"""Decodes packets into frames, and leaves out every frame that damage has changed.

A face in a damaged picture may look like somebody else. So a damaged frame is dropped, together
with all frames up to the next key frame, because they refer to the damaged one. Two things look
like damage but are not: broken metadata next to an intact picture, and frames that refer to frames
before the place where decoding began.
"""

from __future__ import annotations

from contextlib import suppress

import av
from av.video.stream import VideoStream

from rollcall.video.metadata_units import (
    KEPT_MESSAGES,
    hide_metadata,
    hide_pictures,
    restarts,
)
from rollcall.video.opening import AnyPacket

GREY_WITHOUT_KEY = {"mpeg4", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "h263", "h263i", "flv"} | {
    *("wmv1", "wmv2", "wmv3", "vc1")
}
"""Decoders that start from a grey picture if the key frame is missing. FFmpeg's other decoders
return nothing before a key frame or recovery point."""

MAX_DAMAGED_PACKETS = 1000
"""After this many damaged packets in a row, the rest of the video is not decoded."""


class PacketDecoder:
    """Decodes the packets of one track, starting at a key frame."""

    def __init__(self, stream: VideoStream) -> None:
        self.damaged = False
        """Whether any part of the video so far was damaged."""
        self.failures = 0
        """Number of damaged packets in a row."""
        self.first_key: int | None = None
        """Stamp of the key frame at which decoding began."""
        self._stream = stream
        self._key_seen = False
        self._last_key: int | None = None
        self._last_key_before_damage: int | None = None
        self._damaged_stamp: int | None = None
        self._last_lost_bytes = False
        """Whether the demuxer said that bytes of the last packet were lost."""
        self._may_miss_frames = False
        """Whether frames may refer to frames before the place where decoding began."""
        self._is_intact = self._shows_nothing_before_key()
        """Whether frames may be returned now: no damage since the last key frame."""
        self._metadata_is_damaged = False

    def begin_anew(self) -> None:
        """Expect packets from another place of the video."""
        self.first_key = None
        self._key_seen = False

    def restart(self) -> None:
        """Drop the frames that the decoder still holds, and expect a key frame, which may be an
        earlier one."""
        self._stream.codec_context.flush_buffers()
        self.begin_anew()
        self._is_intact = self._shows_nothing_before_key()
        self._last_key_before_damage = None
        self._last_lost_bytes = False

    def _shows_nothing_before_key(self) -> bool:
        return self._stream.codec_context.name not in GREY_WITHOUT_KEY

    def flush(self) -> list[av.VideoFrame]:
        """Return the frames that the decoder still holds. Afterwards it accepts packets again."""
        frames = self.decode(None)
        self._stream.codec_context.flush_buffers()
        return frames

    def decode(self, packet: AnyPacket | None) -> list[av.VideoFrame]:
        """Return the frames that are complete now and that no damage has changed.

        If `packet` is None, the video ends here.
        """
        if packet is not None and packet.is_keyframe:
            self._note_key(packet)
        try:
            frames = self._decode_picture(packet)
        except av.EOFError:  # the decoder already knew that the video has ended
            return []
        except av.FFmpegError:
            self.failures += 1
            if not self._may_miss(packet):
                self._note_damage(packet)
            return []
        self.failures = 0
        if packet is not None and self._has_lost_bytes(packet) and not self._may_miss(packet):
            self._note_damage(packet)
        elif packet is not None and not self._leads(packet) and not packet.is_keyframe:
            self._may_miss_frames = False
        return [frame for frame in frames if self._may_show(frame)]

    def _has_lost_bytes(self, packet: AnyPacket) -> bool:
        """Whether the demuxer says that bytes of this packet were lost. Decoders may not notice."""
        # In a broadcast, a loss at the end of one packet may continue at the start of the next.
        follows_loss, self._last_lost_bytes = self._last_lost_bytes, packet.is_corrupt
        return packet.is_corrupt or follows_loss

    def _may_miss(self, picture: AnyPacket | None) -> bool:
        """Whether a failure only means that frames before the place where decoding began are
        missing."""
        return self._may_miss_frames or self._leads(picture)

    def _leads(self, picture: AnyPacket | av.VideoFrame | None) -> bool:
        """Whether a picture is shown before the key frame at which decoding began.

        Such a picture refers to frames that were never decoded, and no later picture refers to it.
        """
        if picture is None or picture.pts is None or self.first_key is None:
            return False
        return picture.pts < self.first_key

    def _decode_picture(self, packet: AnyPacket | None) -> list[av.VideoFrame]:
        """Decode a packet; if it is refused, try again without its metadata.

        A decoder that refuses damage also refuses a packet with broken metadata. If the second try
        succeeds, the metadata of all later packets is hidden before the first try.
        """
        if packet is not None and self._metadata_is_damaged:
            self._hide_metadata(packet, KEPT_MESSAGES)
        try:
            return self._stream.decode(packet)
        except av.FFmpegError:
            if packet is None or not self._is_metadata_to_blame(packet):
                raise
            for kept in (KEPT_MESSAGES, frozenset[int]()):
                if self._hide_metadata(packet, kept):
                    with suppress(av.FFmpegError):
                        frames = self._stream.decode(packet)
                        self._metadata_is_damaged = True
                        return frames
            raise

    def _is_metadata_to_blame(self, packet: AnyPacket) -> bool:
        """Whether the packet may have been refused because of its metadata."""
        context = self._stream.codec_context
        # FFmpeg's HEVC decoder keeps half of a picture that it refused, and shows that half after a
        # second try. So a second decoder first gets the packet without its pictures, which can only
        # be refused because of its metadata. The H.264 decoder keeps nothing, so it needs no trial.
        # A trial would not work either, because that decoder refuses packets without a picture.
        if context.name != "hevc":
            return True
        trial = av.CodecContext.create("hevc", "r")
        trial.thread_count = 1  # the child may not start threads
        trial.extradata = context.extradata
        trial.options = {"err_detect": "explode"}
        data = hide_pictures(bytes(packet), context.name, context.extradata)
        try:
            trial.decode(av.Packet(data))
        except av.FFmpegError:
            return True
        return False

    def _hide_metadata(self, packet: AnyPacket, kept: frozenset[int]) -> bool:
        """Hide the packet's metadata from the decoder. Returns whether there was any."""
        context, data = self._stream.codec_context, bytes(packet)
        hidden = hide_metadata(data, context.name, context.extradata, kept)
        if hidden == data:
            return False
        packet.update(hidden)
        return True

    def _note_key(self, packet: AnyPacket) -> None:
        """Remember a key frame, and whether decoding begins at it."""
        begins = not self._key_seen
        self._key_seen = True
        self._may_miss_frames = False
        self._last_key = packet.pts
        if begins:
            context = self._stream.codec_context
            self.first_key = packet.dts if packet.pts is None else packet.pts
            # Unless decoding can start at this key frame, frames up to the next key frame may refer
            # to frames before this one. That is not damage.
            self._may_miss_frames = not restarts(bytes(packet), context.name, context.extradata)

    def _note_damage(self, picture: AnyPacket | av.VideoFrame | None) -> None:
        """Drop all frames from now on up to the next key frame."""
        self._is_intact = False
        self._last_key_before_damage = self._last_key
        self._damaged_stamp = picture.pts if picture is not None else None
        # A recording that begins between two key frames does not count as damaged.
        self.damaged |= self._key_seen

    def _may_show(self, frame: av.VideoFrame) -> bool:
        """Whether no damage has changed this frame."""
        if frame.is_corrupt:
            if not (self._may_miss_frames or self._leads(frame)):
                self._note_damage(frame)
            return False
        if frame.key_frame and not self._is_intact:
            # A decoder returns frames late, so the last key frame before the damage may come out
            # after the damage was noticed. That key frame is shown, unless it is the damaged frame
            # itself, but the frames after it are not.
            before = self._last_key_before_damage
            self._is_intact = before is None or frame.pts is None or frame.pts > before
            return self._is_intact or frame.pts != self._damaged_stamp
        return self._is_intact
