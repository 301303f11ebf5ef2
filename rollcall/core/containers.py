"""Recognises video containers by their first bytes. Other files do not reach the decoder.

The check is for security. FFmpeg chooses a demuxer by a file's content, and some demuxers
(playlists, concat scripts) open other files and URLs. The signatures come from the specifications
of the formats.
"""

from __future__ import annotations

HEAD_BYTES = 4096
"""Number of bytes that `container_of` needs from the start of a file."""

_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_SMALL_MP4_BOXES = (b"styp", b"sidx", b"ssix", b"uuid", b"emsg", b"prft", b"pdin", b"moof", b"junk")
"""Boxes before the first fragment of a DASH, CMAF or surveillance recording (ISO/IEC 14496-12,
23009-1). Their names occur in other files by chance. Unlike a movie's index or data, these boxes
are small, so their size is checked as well."""

_MAX_SMALL_BOX_BYTES = 1 << 24
_MIN_BOX_BYTES = 8
"""A box has at least a size and a name of four bytes each."""

_PREFIXES = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"\x00\x00\x01\xba": "mpeg-ps",
    b"\x00\x00\x01\xb3": "mpeg-video",
}
_TS_PACKETS = {188: 0, 192: 4, 204: 0}
"""The lengths of a packet in a transport stream (ISO/IEC 13818-1), each with the offset of the sync
byte. M2TS adds a time code of 4 bytes before each packet, DVB adds 16 bytes of error correction
after it."""

_TS_SYNC = 0x47
_MIN_TS_SYNCS = 5
"""A stream that begins in the middle of a packet is identified by this many sync bytes, each one
packet length after the one before. In random bytes, five of them occur once in 10^12 positions."""

_MAX_LEAD_BYTES = 3072
"""Largest number of bytes before the first whole packet or pack. These are a recorder's own header,
or the rest of a packet or pack (2048 bytes on discs)."""

_PACK_START = b"\x00\x00\x01\xba"
"""Start of a pack in an MPEG program stream (ISO/IEC 13818-1, 2.5.3.3). The next bits distinguish
MPEG-1 from MPEG-2."""

_OTHER_KINDS = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"ID3": "an MP3 sound file",
    b"fLaC": "a FLAC sound file",
    b"#EXTM3U": "a playlist, which only names other files",
    b"ffconcat": "a playlist, which only names other files",
    b"<": "a text file (HTML or XML)",
    b"{": "a text file (JSON)",
    b"DHAV": "a Dahua recorder's own format; export it as MP4",
    b"\x00\x05\x16\x07": "a companion file of macOS (its name begins with ._)",
}


def container_of(head: bytes) -> str | None:
    """The name of the video container that begins with these bytes, or None."""
    if _is_mp4(head):
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    for size, offset in _TS_PACKETS.items():
        if len(head) > offset + size and head[offset] == head[offset + size] == _TS_SYNC:
            return "mpeg-ts"
    named = next((name for prefix, name in _PREFIXES.items() if head.startswith(prefix)), None)
    return named or _stream_after_lead(head)


def kind_of(head: bytes) -> str:
    """A description of a file that is not a video container, for a message to its owner."""
    if not head:
        return "empty"
    if head[:4] == b"RIFF" and head[8:12] in (b"WAVE", b"WEBP"):
        return "a WAV sound file" if head[8:12] == b"WAVE" else "a WebP picture"
    for prefix, kind in _OTHER_KINDS.items():
        if head.startswith(prefix):
            return kind
    return "not a video container (MP4, MKV, AVI, ...)"


def _is_mp4(head: bytes) -> bool:
    if head[4:8] in _MP4_BOXES:
        return True
    size = int.from_bytes(head[:4], "big")
    return head[4:8] in _SMALL_MP4_BOXES and _MIN_BOX_BYTES <= size < _MAX_SMALL_BOX_BYTES


def _stream_after_lead(head: bytes) -> str | None:
    """The name of an MPEG stream that begins in the middle of a packet or after another header."""
    # Pictures and archives may contain the same bytes by chance, so they are excluded first.
    if any(len(prefix) > 1 and head.startswith(prefix) for prefix in _OTHER_KINDS):
        return None
    pack = head.find(_PACK_START, 0, _MAX_LEAD_BYTES)
    if pack >= 0 and len(head) > pack + 4 and _is_pack_mark(head[pack + 4]):
        return "mpeg-ps"
    return "mpeg-ts" if any(_has_syncs(head, size) for size in _TS_PACKETS) else None


def _is_pack_mark(byte: int) -> bool:
    return byte & 0xC4 == 0x44 or byte & 0xF1 == 0x21  # MPEG-2: 01xxx1xx; MPEG-1: 0010xxx1


def _has_syncs(head: bytes, size: int) -> bool:
    last = len(head) - (_MIN_TS_SYNCS - 1) * size
    return any(
        all(head[first + n * size] == _TS_SYNC for n in range(_MIN_TS_SYNCS))
        for first in range(min(last, _MAX_LEAD_BYTES))
    )
