"""Measures how the CPU time for a video grows with its length, for `identify` and `timeline`.

The recogniser is warm and runs in this process. `identify` should cost the same for any length, and
`timeline` should cost the same for every second. Run alone: `make bench ONLY=growth`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import markdown
from benchmarks.bench import Bench
from benchmarks.long_videos import long_video
from benchmarks.measure import measure
from rollcall.core.gallery import Gallery
from rollcall.core.stopwatch import Stopwatch
from rollcall.recognition.recogniser import Recogniser
from rollcall.video.video_files import WholeFile
from rollcall.wiring import build_engine, build_recogniser

TITLE = "Length of the video"
SCANS = ("identify", "timeline")
REPEAT_UP_TO_S = 60
"""With `timeline`, longer videos are measured only once, because fluctuations average out."""


def run(bench: Bench) -> list[dict[str, Any]]:
    """Return the CPU ms and wall ms for each length and each SCAN."""
    gallery, engine = bench.gallery(), build_engine(bench.settings)
    results = []
    for scan in SCANS:
        settings = replace(bench.settings, scan=scan, max_call_s=3600.0)
        recogniser = build_recogniser(settings, engine)
        # Warms up: loads the models and starts the decoder's child.
        recogniser.recognise(WholeFile(bench.videos[0]), gallery, Stopwatch())
        for length_s in bench.sizes.lengths_s:
            video = long_video(bench, length_s)
            short = scan == "identify" or length_s <= REPEAT_UP_TO_S
            repeats = bench.sizes.repeats if short else 1
            cost = _cost(recogniser, video, gallery, repeats)
            results.append({"scan": scan, "length_s": length_s, **cost})
    return results


def _cost(recogniser: Recogniser, video: Path, gallery: Gallery, repeats: int) -> dict[str, float]:
    costs = [
        measure(lambda: recogniser.recognise(WholeFile(video), gallery, Stopwatch()))[0]
        for _ in range(repeats)
    ]
    return {
        "cpu_ms": round(median(cost.cpu_ms for cost in costs), 1),
        "wall_ms": round(median(cost.wall_ms for cost in costs), 1),
    }


def cpu_ms(results: list[dict[str, Any]], scan: str) -> dict[int, float]:
    """Return the CPU ms of one SCAN for each length in seconds."""
    return {each["length_s"]: each["cpu_ms"] for each in results if each["scan"] == scan}


def table(results: list[dict[str, Any]]) -> str:
    identify, timeline = (cpu_ms(results, scan) for scan in SCANS)
    rows = [
        (f"{length_s} s", f"{identify[length_s]:.1f}", f"{ms:.0f}", f"{ms / length_s:.1f}")
        for length_s, ms in timeline.items()
    ]
    head = (
        *("length", "identify, CPU ms", "timeline, CPU ms"),
        "timeline, CPU ms per second of video",
    )
    return markdown.table(head, rows)
