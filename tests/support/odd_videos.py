"""Makes videos with time stamps and durations that ordinary programs do not write."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from support.videos import paint_frame

TICK = Fraction(1, 1000)


def stamped_video(path: Path, stamps_ms: Iterable[int], red_from_ms: int) -> Path:
    """Make a Matroska file with frames at these times, and with a red face since `red_from_ms`."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.time_base = stream.codec_context.time_base = TICK
        for stamp_ms in stamps_ms:
            colours = ["red"] if stamp_ms >= red_from_ms else []
            picture = paint_frame(colours)[..., ::-1].copy()
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp_ms, TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def with_duration(path: Path, factor: float) -> bytes:
    """Return the file's bytes with the duration in its header (an EBML float) multiplied."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    (duration,) = struct.unpack(">d", data[at : at + 8])
    data[at : at + 8] = struct.pack(">d", duration * factor)
    return bytes(data)
