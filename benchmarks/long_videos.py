"""Long videos, made of the clips: 720p, 25 frames a second, x264 with its default key frames."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.bench import Bench

WIDTH_PX, HEIGHT_PX, FPS = 1280, 720, 25


def long_video(bench: Bench, seconds: int) -> Path:
    """An MP4 with its index in front; made once in a run."""
    path = bench.folder / f"long-{seconds}.mp4"
    if not path.exists():
        _ffmpeg(
            *("-stream_loop", "-1", "-i", str(_unit(bench)), "-t", str(seconds)),
            *("-c", "copy", "-movflags", "+faststart", str(path)),
        )
    return path


def _unit(bench: Bench) -> Path:
    path = bench.folder / "unit.mp4"
    if not path.exists():
        inputs = [word for video in bench.videos for word in ("-i", str(video))]
        fit = (
            f"scale={WIDTH_PX}:{HEIGHT_PX}:force_original_aspect_ratio=decrease,"
            f"pad={WIDTH_PX}:{HEIGHT_PX}:-1:-1,setsar=1,fps={FPS},format=yuv420p"
        )
        count = len(bench.videos)
        scaled = "".join(f"[{n}:v]{fit}[v{n}];" for n in range(count))
        joined = "".join(f"[v{n}]" for n in range(count))
        graph = f"{scaled}{joined}concat=n={count},loop=loop=-1:size=32767[out]"
        _ffmpeg(
            *(*inputs, "-filter_complex", graph, "-map", "[out]", "-t", str(bench.sizes.encoded_s)),
            *("-c:v", "libx264", str(path)),
        )
    return path


def _ffmpeg(*arguments: str) -> None:
    argv = ["ffmpeg", "-loglevel", "error", "-y", *arguments]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
