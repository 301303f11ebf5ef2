"""`SCAN=auto` over long 720p videos: speed and memory of a fresh process, on all cores."""

from __future__ import annotations

from benchmarks import timeline
from benchmarks.bench import Bench

TITLE = "A look every ten seconds of a long video"
table = timeline.table


def run(bench: Bench) -> list[dict[str, float]]:
    """Measured as `timeline` is, on the same videos."""
    return timeline.walks(bench, "auto")
