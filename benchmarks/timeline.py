"""Measures `SCAN=timeline` on long 720p videos: speed (in multiples of real time), CPU and memory.

Each video is recognised by a new process on all cores. Run alone: `make bench ONLY=timeline`.
"""

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
"""Seconds between two readings of the process's memory and CPU time."""


def run(bench: Bench) -> list[dict[str, float]]:
    return costs_by_length(bench, "timeline")


def costs_by_length(bench: Bench, scan: str) -> list[dict[str, float]]:
    """Return, for each length, the costs of one process that recognises a video of this length.

    The costs are the wall seconds from the start of the process to its end, the CPU seconds, and
    the largest memory (MB) that the process and its children used together at one time.
    """
    lengths_s = bench.sizes.timeline_lengths_s
    return [{"length_s": n, **_cost(bench, long_video(bench, n), scan)} for n in lengths_s]


def _cost(bench: Bench, video: Path, scan: str) -> dict[str, float]:
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
            # For a process that has ended, readings are 0, so the largest reading counts.
            pids = processes.tree(child.pid)
            peak, cpu_s = max(peak, processes.rss_bytes(pids)), max(cpu_s, processes.cpu_s(pids))
            time.sleep(SAMPLE_S)
    finally:
        child.kill()
    wall_s = time.perf_counter() - started
    if child.wait():
        raise RuntimeError(f"{' '.join(argv)} ended with exit code {child.returncode}")
    return {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2), "peak_mb": round(peak / 1e6, 1)}


def speed(each: dict[str, Any]) -> float:
    """Return how many seconds of video are recognised per second."""
    return float(each["length_s"] / each["wall_s"])


def table(results: list[dict[str, Any]]) -> str:
    head = ("length", "wall time", "times real time", "CPU time", "peak memory")
    rows = [
        (
            f"{each['length_s']} s",
            f"{each['wall_s']:.1f} s",
            f"{speed(each):.1f}",
            f"{each['cpu_s']:.1f} s",
            f"{each['peak_mb']:.0f} MB",
        )
        for each in results
    ]
    return markdown.table(head, rows)
