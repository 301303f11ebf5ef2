"""Turns packets into sound frames: damage is refused, damaged metadata is not."""

from __future__ import annotations

from contextlib import suppress

import av
from av.video.stream import VideoStream

from rollcall.adapters.video.metadata_units import KEPT_MESSAGES, hide_metadata, restarts
from rollcall.adapters.video.opening import AnyPacket

GREY_WITHOUT_KEY = {"mpeg4", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "h263", "h263i", "flv"} | {
    *("wmv1", "wmv2", "wmv3", "vc1")
}
"""FFmpeg's decoders of this family start from a grey picture where the key frame is missing. The
others show nothing before a key frame or recovery point."""


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
        self._may_miss_frames = False
        self._sound = stream.codec_context.name not in GREY_WITHOUT_KEY
        self._metadata_is_damaged = False

    def begin_anew(self) -> None:
        """The next packets are from another place of the video."""
        self.first_key = None
        self._key_seen = False

    def flush(self) -> list[av.VideoFrame]:
        """What the decoder holds back. After it, decoding begins anew."""
        found = self.decode(None)
        self._stream.codec_context.flush_buffers()
        return found

    def decode(self, packet: AnyPacket | None) -> list[av.VideoFrame]:
        """The sound frames: none of a damaged packet, and none that builds upon it."""
        if packet is not None and packet.is_keyframe:
            self._note_key(packet)
        try:
            frames = self._decode_picture(packet)
        except av.EOFError:  # it was told before that there is no more
            return []
        except av.FFmpegError:
            self.failures += 1
            if not self._leads(packet):
                self._note_damage()
            return []
        self.failures = 0
        return [frame for frame in frames if self._is_sound(frame)]

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
            for kept in (KEPT_MESSAGES, frozenset[int]()):
                if packet is not None and self._hide_metadata(packet, kept):
                    with suppress(av.FFmpegError):
                        frames = self._stream.decode(packet)
                        self._metadata_is_damaged = True
                        return frames
            raise

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
        if begins:
            context = self._stream.codec_context
            self.first_key = packet.dts if packet.pts is None else packet.pts
            self._may_miss_frames = not restarts(bytes(packet), context.name, context.extradata)

    def _note_damage(self) -> None:
        """A recording that begins between two key frames is not damaged."""
        self._sound = False
        self.damaged |= self._key_seen and not self._may_miss_frames

    def _is_sound(self, frame: av.VideoFrame) -> bool:
        """Frames after a damaged one show what was never there, up to the next key frame."""
        if frame.is_corrupt and self._leads(frame):
            return False
        if frame.is_corrupt:
            self._note_damage()
        elif frame.key_frame:
            self._sound = True
        return self._sound
