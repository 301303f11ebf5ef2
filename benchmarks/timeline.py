"""`SCAN=timeline` over long 720p videos: speed and memory of a fresh process, on all cores."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import markdown, processes
from benchmarks.bench import Bench
from benchmarks.long_videos import long_video
from devstack.build_context import REPOSITORY

TITLE = "Every second of a long video"
SAMPLE_S = 0.05


def run(bench: Bench) -> list[dict[str, float]]:
    return walks(bench, "timeline")


def walks(bench: Bench, scan: str) -> list[dict[str, float]]:
    """For each length: wall seconds from the start of the process, CPU seconds, and the most memory
    that the process and its children had at once."""
    lengths_s = bench.sizes.timeline_lengths_s
    return [{"length_s": n, **_walk(bench, long_video(bench, n), scan)} for n in lengths_s]


def _walk(bench: Bench, video: Path, scan: str) -> dict[str, float]:
    argv = [
        *(sys.executable, "-W", "ignore", "-m", "rollcall", "recognise", str(video.resolve())),
        *("--encodings", str(bench.encodings), "--scan", scan, "--json"),
    ]
    environ = {**bench.environ, "MAX_CALL_S": "3600"}
    quiet, started = subprocess.DEVNULL, time.perf_counter()
    child = subprocess.Popen(argv, cwd=REPOSITORY, env=environ, stdin=quiet, stdout=quiet)
    peak, cpu_s = 0, 0.0
    try:
        while child.poll() is None:
            pids = processes.tree(child.pid)
            peak, cpu_s = max(peak, processes.rss_bytes(pids)), max(cpu_s, processes.cpu_s(pids))
            time.sleep(SAMPLE_S)
    finally:
        child.kill()
    wall_s = time.perf_counter() - started
    if child.wait():
        raise RuntimeError(f"{' '.join(argv)} ended with {child.returncode}")
    return {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "peak_mb": round(peak / 1e6, 1)}


def speed(each: dict[str, Any]) -> float:
    """In multiples of real time."""
    return float(each["length_s"] / each["wall_s"])


def table(found: list[dict[str, Any]]) -> str:
    head = ("length", "wall", "times real time", "CPU", "most memory")
    rows = [
        (
            f"{each['length_s']} s",
            f"{each['wall_s']:.1f} s",
            f"{speed(each):.1f}",
            f"{each['cpu_s']:.1f} s",
            f"{each['peak_mb']:.0f} MB",
        )
        for each in found
    ]
    return markdown.table(head, rows)
