"""Makes long videos from the clips: 720p, 25 frames a second, x264's default key frames."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.bench import Bench

WIDTH_PX, HEIGHT_PX, FPS = 1280, 720, 25


def long_video(bench: Bench, seconds: int) -> Path:
    """Return an MP4 of this length with its index at the start.

    The first call for a length makes the file, and later calls in the same run return it.
    """
    path = bench.folder / f"long-{seconds}.mp4"
    if not path.exists():
        _ffmpeg(
            *("-stream_loop", "-1", "-i", str(_encoded_part(bench)), "-t", str(seconds)),
            *("-c", "copy", "-movflags", "+faststart", str(path)),
        )
    return path


def _encoded_part(bench: Bench) -> Path:
    """Return the video that long videos repeat.

    It shows all clips, one after the other and again from the start, and is exactly `encoded_s`
    seconds long.
    """
    path = bench.folder / "encoded-part.mp4"
    if not path.exists():
        inputs = [word for video in bench.videos for word in ("-i", str(video))]
        fit = (
            f"scale={WIDTH_PX}:{HEIGHT_PX}:force_original_aspect_ratio=decrease,"
            f"pad={WIDTH_PX}:{HEIGHT_PX}:-1:-1,setsar=1,fps={FPS},format=yuv420p"
        )
        count = len(bench.videos)
        scaled = "".join(f"[{n}:v]{fit}[v{n}];" for n in range(count))
        joined = "".join(f"[v{n}]" for n in range(count))
        # `size` is how many frames the filter repeats. 32767 is the largest value that it accepts.
        graph = f"{scaled}{joined}concat=n={count},loop=loop=-1:size=32767[out]"
        _ffmpeg(
            *(*inputs, "-filter_complex", graph, "-map", "[out]", "-t", str(bench.sizes.encoded_s)),
            *("-c:v", "libx264", str(path)),
        )
    return path


def _ffmpeg(*arguments: str) -> None:
    argv = ["ffmpeg", "-loglevel", "error", "-y", *arguments]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
