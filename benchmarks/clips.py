"""CPU per clip: a reference flow, Rollcall, and the bare library calls, turn by turn.

So a busy moment of the machine meets all three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import markdown
from benchmarks.bare import Bare
from benchmarks.bench import Bench
from benchmarks.measure import Cost, measure
from benchmarks.reference import recognise as recognise_by_reference
from rollcall.core.stopwatch import Stopwatch
from rollcall.video_files import WholeFile
from rollcall.wiring import build_engine, build_recogniser

TITLE = "CPU per clip"
Flows = Mapping[str, Callable[[Path], Any]]


def run(bench: Bench) -> list[dict[str, Any]]:
    """Per clip: names, and the median cost of each flow. All are warm."""
    gallery = bench.gallery()
    recogniser = build_recogniser(bench.settings, build_engine(bench.settings))

    def ours(video: Path) -> str:
        people = recogniser.recognise(WholeFile(video), gallery, Stopwatch()).people
        return people[0].name if people else ""

    flows: Flows = {
        "reference": lambda video: recognise_by_reference(video, bench.encodings),
        "rollcall": ours,
        "bare": Bare(Path(bench.model_cache)).run,
    }
    return [_clip(video, flows, bench.sizes.repeats) for video in bench.videos]


def _clip(video: Path, flows: Flows, repeats: int) -> dict[str, Any]:
    costs: dict[str, list[Cost]] = {name: [] for name in flows}
    names = {}
    for number in range(repeats + 1):
        for name, flow in flows.items():
            cost, names[name] = measure(partial(flow, video))
            if number:  # the first round warms up
                costs[name].append(cost)
    return {
        "video": video.name,
        "names": {name: names[name] for name in ("reference", "rollcall")},
        "cpu_ms": {name: round(median(c.cpu_ms for c in each), 1) for name, each in costs.items()},
        "wall_ms": {
            name: round(median(c.wall_ms for c in each), 1) for name, each in costs.items()
        },
    }


def totals(clips: list[dict[str, Any]]) -> dict[str, float]:
    """CPU ms of all clips, by flow."""
    return {name: sum(clip["cpu_ms"][name] for clip in clips) for name in clips[0]["cpu_ms"]}


def table(clips: list[dict[str, Any]]) -> str:
    head = (
        *("clip", "reference, CPU ms", "Rollcall, CPU ms", "ratio", "to the bare calls"),
        "same name",
    )
    rows = [(*_cells(clip["video"], clip["cpu_ms"]), _same(clip)) for clip in clips]
    return markdown.table(head, [*rows, (*_cells("all", totals(clips)), "")])


def _cells(name: str, cpu_ms: Mapping[str, float]) -> tuple[str, ...]:
    ratio = cpu_ms["reference"] / cpu_ms["rollcall"]
    to_bare = cpu_ms["rollcall"] / cpu_ms["bare"]
    cells = (f"{cpu_ms['reference']:.0f}", f"{cpu_ms['rollcall']:.1f}")
    return name, *cells, f"{ratio:.1f}", f"{to_bare:.2f}"


def _same(clip: Mapping[str, Any]) -> str:
    return "yes" if clip["names"]["reference"] == clip["names"]["rollcall"] else "NO"
