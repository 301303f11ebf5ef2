"""Opens a video file with the demuxer for the format that the file's first bytes show.

FFmpeg could guess the format itself. But some formats that FFmpeg reads are scripts that name other
files and addresses, and FFmpeg would open those.
"""

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
"""FFmpeg's demuxers for the containers that `container_of` recognises. Playlists are not among
them."""

HEADER_SAYS_ALL = {"mov", "matroska", "avi", "flv"}
"""Demuxers of containers whose header describes the tracks completely, so that opening the file
need not decode a frame."""

HAS_KEY_INDEX = HEADER_SAYS_ALL | {"asf"}
"""Demuxers of containers in which an index lists key frames, so that a seek leads to a key frame.
In MPEG streams and Ogg, a seek may end between two key frames."""

HAS_WHOLE_INDEX = {"mov", "avi"}
"""Demuxers of containers whose index lists every frame. FFmpeg reads that index when it opens the
file."""


class VideoContainer:
    """An open video file. After packets were read, `reopen` starts again at the beginning."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises NotAVideo for an unsupported format, or for a file that FFmpeg cannot open."""
        head = file.read(HEAD_BYTES)
        container = container_of(head)
        if container is None:
            raise NotAVideo(f"the file is {kind_of(head)}; check that the upload was complete")
        self.demuxer = DEMUXERS[container]
        self._file = file
        self.opened = self._open()

    def reopen(self) -> None:
        """Open the file again. Tracks that were returned earlier must not be used afterwards."""
        self.close()
        self.opened = self._open()

    def track(self, index: int) -> VideoStream:
        """Return a video track of the file. It is valid until the next `reopen` or `close`."""
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
    # Even if the file refers to other files, FFmpeg opens no protocol and no other format.
    options = {"protocol_whitelist": "none", "format_whitelist": demuxer}
    if demuxer in HEADER_SAYS_ALL:
        # By default, FFmpeg reads up to 5 MB and decodes frames to learn what the header says.
        options |= {"skip_frame": "all", "probesize": "65536"}
    return options


def packets_of(container: av.container.InputContainer, *tracks: VideoStream) -> Iterator[AnyPacket]:
    """Yield the packets of these tracks up to the end, or up to the place where the file is cut
    off."""
    try:
        # The last packet that PyAV yields for each track is empty.
        yield from (packet for packet in container.demux(*tracks) if packet.size)
    except av.FFmpegError:
        return
