"""What a file is by its first bytes: only video containers are ever handed to the decoder.

FFmpeg chooses a demuxer by content too, and some of its demuxers (playlists, concat scripts) open
other files and addresses. The signatures are those of the formats' specifications.
"""

from __future__ import annotations

HEAD_BYTES = 512
"""How much of a file `container_of` wants to see."""

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_PREFIXES = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"\x00\x00\x01\xba": "mpeg-ps",
    b"\x00\x00\x01\xb3": "mpeg-video",
}
_TS_PACKETS = {188: 0, 192: 4}
"""Length of a transport stream packet -> offset of its sync byte; M2TS has a time code first."""


def container_of(head: bytes) -> str | None:
    """Name of the video container, or None when the bytes begin none."""
    if head[4:8] in _MP4_BOXES:
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    for size, offset in _TS_PACKETS.items():
        if len(head) > offset + size and head[offset] == head[offset + size] == 0x47:
            return "mpeg-ts"
    return next((name for prefix, name in _PREFIXES.items() if head.startswith(prefix)), None)
