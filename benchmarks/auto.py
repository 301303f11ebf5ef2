"""Measures `SCAN=auto` on long 720p videos: speed (in multiples of real time), CPU and memory.

Each video is recognised by a new process on all cores. The reference flow does not take
part, because it searches every second. Run alone: `make bench ONLY=auto`.
"""

from __future__ import annotations

from benchmarks import timeline
from benchmarks.bench import Bench

TITLE = "Every ten seconds of a long video"
table = timeline.table


def run(bench: Bench) -> list[dict[str, float]]:
    """Return the costs for each length. Videos and method are those of `timeline`."""
    return timeline.costs_by_length(bench, "auto")
