"""Turns packets into sound frames: damage is refused, damaged metadata is not."""

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
"""FFmpeg's decoders of this family start from a grey picture where the key frame is missing. The
others show nothing before a key frame or recovery point."""


MAX_DAMAGED_PACKETS = 1000
"""In a row. After so many there is nothing more to come."""


class PacketDecoder:
    """Decodes the packets of one track, from a key frame on."""

    def __init__(self, stream: VideoStream) -> None:
        self.damaged = False
        """Whether something could not be decoded so far."""
        self.failures = 0
        """Damaged packets in a row."""
        self.first_key: int | None = None
        """Stamp of the key frame at which decoding began."""
        self._stream = stream
        self._key_seen = False
        self._last_key: int | None = None
        self._last_key_before_damage: int | None = None
        self._damaged_stamp: int | None = None
        self._lost = False
        self._may_miss_frames = False
        self._sound = self._shows_nothing_before_key()
        self._metadata_is_damaged = False

    def begin_anew(self) -> None:
        """The next packets are from another place of the video."""
        self.first_key = None
        self._key_seen = False

    def restart(self) -> None:
        """The next packet is a key frame, and maybe an earlier one than the last. What the decoder
        still holds is dropped."""
        self._stream.codec_context.flush_buffers()
        self.begin_anew()
        self._sound = self._shows_nothing_before_key()
        self._last_key_before_damage = None
        self._lost = False

    def _shows_nothing_before_key(self) -> bool:
        return self._stream.codec_context.name not in GREY_WITHOUT_KEY

    def flush(self) -> list[av.VideoFrame]:
        """Frames that the decoder still held back. Decoding begins anew after this call."""
        found = self.decode(None)
        self._stream.codec_context.flush_buffers()
        return found

    def decode(self, packet: AnyPacket | None) -> list[av.VideoFrame]:
        """The sound frames: none of a damaged packet, and none that builds upon it."""
        if packet is not None and packet.is_keyframe:
            self._note_key(packet)
        try:
            frames = self._decode_picture(packet)
        except av.EOFError:  # the end was signalled before
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
        return [frame for frame in frames if self._is_sound(frame)]

    def _has_lost_bytes(self, packet: AnyPacket) -> bool:
        """Some decoders do not say that bytes of a packet were lost. What was lost at the end of a
        packet may go on at the start of the next."""
        follows_loss, self._lost = self._lost, packet.is_corrupt
        return packet.is_corrupt or follows_loss

    def _may_miss(self, picture: AnyPacket | None) -> bool:
        """Whether its failure only means that frames before the start of decoding are missing."""
        return self._may_miss_frames or self._leads(picture)

    def _leads(self, picture: AnyPacket | av.VideoFrame | None) -> bool:
        """Whether a picture is shown before the key frame at which decoding began: it builds upon
        frames that were never there, and its loss damages nothing after it."""
        if picture is None or picture.pts is None or self.first_key is None:
            return False
        return picture.pts < self.first_key

    def _decode_picture(self, packet: AnyPacket | None) -> list[av.VideoFrame]:
        """A picture is not damaged because the metadata beside it is.

        A decoder that refuses damage refuses both alike. So a refused packet is tried again without
        its metadata. If that helps, later packets lose theirs at once.
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
        """FFmpeg's HEVC decoder keeps half of a picture that it refused, and shows it after a
        second try. So another decoder gets the packet without the picture first: it refuses it
        only because of the metadata. The H.264 decoder refuses packets without a picture, and
        keeps nothing."""
        context = self._stream.codec_context
        if context.name != "hevc":
            return True
        trial = av.CodecContext.create("hevc", "r")
        trial.thread_count = 1  # this process may not start threads
        trial.extradata = context.extradata
        trial.options = {"err_detect": "explode"}
        data = hide_pictures(bytes(packet), context.name, context.extradata)
        try:
            trial.decode(av.Packet(data))
        except av.FFmpegError:
            return True
        return False

    def _hide_metadata(self, packet: AnyPacket, kept: frozenset[int]) -> bool:
        """Whether there was any."""
        context, data = self._stream.codec_context, bytes(packet)
        hidden = hide_metadata(data, context.name, context.extradata, kept)
        if hidden == data:
            return False
        packet.update(hidden)
        return True

    def _note_key(self, packet: AnyPacket) -> None:
        """Where decoding begins at a key frame that is not a fresh start, its neighbours may miss
        frames up to the next key frame. That is not damage."""
        begins = not self._key_seen
        self._key_seen = True
        self._may_miss_frames = False
        self._last_key = packet.pts
        if begins:
            context = self._stream.codec_context
            self.first_key = packet.dts if packet.pts is None else packet.pts
            self._may_miss_frames = not restarts(bytes(packet), context.name, context.extradata)

    def _note_damage(self, picture: AnyPacket | av.VideoFrame | None) -> None:
        """A recording that begins between two key frames is not damaged."""
        self._sound = False
        self._last_key_before_damage = self._last_key
        self._damaged_stamp = picture.pts if picture is not None else None
        self.damaged |= self._key_seen

    def _is_sound(self, frame: av.VideoFrame) -> bool:
        """Frames after a damaged one show what was never there, up to the next key frame.

        A decoder hands frames out late, so a key frame from before the damage may come after it.
        """
        if frame.is_corrupt:
            if not (self._may_miss_frames or self._leads(frame)):
                self._note_damage(frame)
            return False
        if frame.key_frame and not self._sound:
            before = self._last_key_before_damage
            self._sound = before is None or frame.pts is None or frame.pts > before
            return self._sound or frame.pts != self._damaged_stamp
        return self._sound
