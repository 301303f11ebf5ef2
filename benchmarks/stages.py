"""Measures the wall time of each stage of the pipeline for one clip, in milliseconds.

The times come from the function's answers (`timings_ms`). There is no reference: the section shows
where Rollcall's own time goes. Run alone: `make bench ONLY=stages`.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks import markdown
from benchmarks.bench import Bench
from benchmarks.stacks import BenchStack

TITLE = "Stages of a call"


def run(bench: Bench) -> dict[str, Any]:
    """Return, by store and clip, the median ms of each stage, in the order of the pipeline."""
    with BenchStack(bench, workers=1) as stack:
        stack.get_ready()
        clips = [_clip(bench, stack, video.name) for video in bench.videos]
    return {bench.store: clips}


def _clip(bench: Bench, stack: BenchStack, name: str) -> dict[str, Any]:
    calls = [stack.call(f"warm-0/{name}")["timings_ms"] for _ in range(bench.sizes.repeats)]
    stages = {stage: round(median(ms.get(stage, 0.0) for ms in calls), 1) for stage in calls[0]}
    return {"video": name, "ms": stages}


def means(clips: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean over the clips, by stage.

    A stage that a clip does not reach counts as 0. For example, a clip without a face has no match.
    """
    stages = dict.fromkeys(stage for clip in clips for stage in clip["ms"])
    return {s: sum(clip["ms"].get(s, 0.0) for clip in clips) / len(clips) for s in stages}


def table(result: dict[str, Any]) -> str:
    return "\n\n".join(_table(store, clips) for store, clips in result.items())


def _table(store: str, clips: list[dict[str, Any]]) -> str:
    stages = list(means(clips))
    lines = [*((c["video"], c["ms"]) for c in clips), ("mean", means(clips))]
    rows = [
        (name, *(f"{ms.get(stage, 0.0):.1f}" for stage in stages), f"{sum(ms.values()):.1f}")
        for name, ms in lines
    ]
    share = (f"{part:.0%}" for part in shares(clips).values())
    return markdown.table((f"{store}, ms", *stages, "sum"), [*rows, ("share of sum", *share, "")])


def shares(clips: list[dict[str, Any]]) -> dict[str, float]:
    """Return the share of each stage in the mean call."""
    mean = means(clips)
    return {stage: ms / sum(mean.values()) for stage, ms in mean.items()}
