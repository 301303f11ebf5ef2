"""Makes and changes videos with the `ffmpeg` program."""

from __future__ import annotations

import shlex
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from support.needs import need

H264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p"
TEST_CARD = "-f lavfi -i testsrc2=s=320x180:r=25:d={seconds}"


def ffmpeg(arguments: str, output: Path) -> Path:
    """Run `ffmpeg` and return `output`. The caller has to quote paths in `arguments`."""
    need(shutil.which("ffmpeg") is not None, "the program ffmpeg is not installed")
    argv = ["ffmpeg", "-nostdin", "-v", "fatal", "-y", *shlex.split(arguments), str(output)]
    subprocess.run(argv, check=True, timeout=120)
    return output


def moving_card(output: Path, options: str, seconds: float = 3) -> Path:
    """Make a moving test card without faces: 320x180 pixels, 25 frames a second."""
    return ffmpeg(f"{TEST_CARD.format(seconds=seconds)} {options}", output)


def with_matrix(mp4: bytes, a: float, b: float, c: float, d: float) -> bytes:
    """Return the MP4 with this display matrix in its only track (ISO/IEC 14496-12, tkhd)."""
    start = mp4.index(b"tkhd") + 44
    # Numbers are 16.16 fixed point, except for the last one, which is 2.30.
    rows = [round(value * 65536) for value in (a, b, 0, c, d, 0, 0, 0)]
    return mp4[:start] + struct.pack(">9i", *rows, 1 << 30) + mp4[start + 36 :]


def with_units(
    annex_b: Path, unit: bytes, beside: Callable[[bytes], bool], *, after: bool
) -> bytes:
    """Insert `unit` into a bare H.264 or HEVC stream, next to each unit that `beside` accepts."""
    units = [each.rstrip(b"\0") for each in annex_b.read_bytes().split(b"\0\0\1")[1:]]
    made = []
    for each in units:
        new = [unit] if beside(each) else []
        made += [each, *new] if after else [*new, each]
    return b"".join(b"\0\0\0\1" + each for each in made)
