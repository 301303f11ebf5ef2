"""Opens a video file with the demuxer that its first bytes ask for, and with no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, TypeAlias

import av
from av.stream import Stream
from av.video.stream import VideoStream

from rollcall.core.containers import HEAD_BYTES, container_of, kind_of
from rollcall.core.errors import NotAVideo

AnyPacket: TypeAlias = "av.Packet[Stream]"

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
"""FFmpeg's names of the containers. FFmpeg is told which one to use: left to guess, it would accept
a playlist too, and open what the playlist names."""

HEADER_SAYS_ALL = {"mov", "matroska", "avi", "flv"}
"""For these nothing needs to be decoded before the first frame is wanted."""

HAS_KEY_INDEX = HEADER_SAYS_ALL | {"asf"}
"""In these the index lists key frames, and a seek leads to one. In MPEG streams and Ogg a seek may
end between two key frames."""

HAS_WHOLE_INDEX = {"mov", "avi"}
"""In these the index is complete once the file is open."""


class VideoContainer:
    """An open video file. It can be opened again at its start after packets were read."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises NotAVideo. The file's name means nothing."""
        head = file.read(HEAD_BYTES)
        container = container_of(head)
        if container is None:
            raise NotAVideo(f"the file is {kind_of(head)}; check that the upload was complete")
        self.demuxer = DEMUXERS[container]
        self._file = file
        self.opened = self._open()

    def reopen(self) -> None:
        """Tracks of before are of no use afterwards."""
        self.close()
        self.opened = self._open()

    def track(self, index: int) -> VideoStream:
        """A video track of the file as it is open now."""
        track = self.opened.streams[index]
        assert isinstance(track, VideoStream)  # noqa: S101 - for the type checker
        return track

    def close(self) -> None:
        self.opened.close()

    def _open(self) -> av.container.InputContainer:
        self._file.seek(0)
        try:
            return av.open(self._file, "r", format=self.demuxer, options=_options(self.demuxer))
        except (av.FFmpegError, ValueError) as error:
            reason = "the video cannot be opened: its index is damaged or cut off"
            raise NotAVideo(reason) from error


def _options(demuxer: str) -> dict[str, str]:
    """Nothing else is opened on the way, whatever the file asks for."""
    options = {"protocol_whitelist": "none", "format_whitelist": demuxer}
    if demuxer in HEADER_SAYS_ALL:
        options |= {"skip_frame": "all", "probesize": "65536"}
    return options


def packets_of(container: av.container.InputContainer, *tracks: VideoStream) -> Iterator[AnyPacket]:
    """The packets of these tracks up to the end, or up to where the file is cut off."""
    try:
        yield from (packet for packet in container.demux(*tracks) if packet.size)
    except av.FFmpegError:
        return
