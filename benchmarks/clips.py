"""Measures how many milliseconds of CPU time four flows need for one clip.

- reference: a typical script with ffmpeg and face_recognition (`reference.py`)
- rollcall: Rollcall as it ships, which decodes videos in a child process
- one process: Rollcall with decoding in the same process, to show what the child process costs
- bare: only the library calls that are needed (`bare.py`)

Run alone: `make bench ONLY=clips`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import markdown
from benchmarks.bare import Bare
from benchmarks.bench import Bench
from benchmarks.measure import Cost, measure
from benchmarks.reference import recognise as recognise_by_reference
from rollcall.core.protocols import Video, VideoFile
from rollcall.core.sampling import SCANS
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import VideoLimits
from rollcall.recognition.recogniser import Recogniser
from rollcall.video.av_video import open_video
from rollcall.video.video_files import WholeFile
from rollcall.wiring import build_engine, build_recogniser

TITLE = "CPU per clip"
Flows = Mapping[str, Callable[[Path], Any]]


def run(bench: Bench) -> list[dict[str, Any]]:
    """Return, for each clip, the names found and the median cost of each flow after a warm-up."""
    gallery = bench.gallery()
    settings, engine = bench.settings, build_engine(bench.settings)
    limits = VideoLimits(settings.max_video_s, settings.max_video_px)
    in_one_process = Recogniser(
        partial(_open_here, limits=limits),
        engine,
        tolerance=settings.tolerance,
        scan=SCANS[settings.scan],
        max_s=settings.max_call_s,
    )

    def name_in(recogniser: Recogniser, video: Path) -> str:
        people = recogniser.recognise(WholeFile(video), gallery, Stopwatch()).people
        return people[0].name if people else ""

    flows: Flows = {
        "reference": lambda video: recognise_by_reference(video, bench.encodings),
        "rollcall": partial(name_in, build_recogniser(settings, engine)),
        "one process": partial(name_in, in_one_process),
        "bare": Bare(Path(bench.model_cache)).run,
    }
    return [_clip(video, flows, bench.sizes.repeats) for video in bench.videos]


@contextmanager
def _open_here(
    file: VideoFile, *, whole: bool, max_s: float, cpu_s: float, track: int, limits: VideoLimits
) -> Iterator[Video]:
    """Open a video in this process. (A hostile video could then do anything that the process may
    do, so the service does not work this way.)"""
    with (
        open(file.path, "rb") as opened,
        open_video(opened, limits, whole=whole, track=track) as video,
    ):
        yield video


def _clip(video: Path, flows: Flows, repeats: int) -> dict[str, Any]:
    costs: dict[str, list[Cost]] = {name: [] for name in flows}
    names = {}
    # The flows take turns, so that other load on the machine affects all of them.
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
    """Return, for each flow, the CPU milliseconds for all clips together."""
    return {name: sum(clip["cpu_ms"][name] for clip in clips) for name in clips[0]["cpu_ms"]}


def table(clips: list[dict[str, Any]]) -> str:
    head = (
        *("clip", "reference, CPU ms", "Rollcall, CPU ms", "reference / Rollcall"),
        *("Rollcall / bare calls", "Rollcall / one process", "same name"),
    )
    rows = [(*_cells(clip["video"], clip["cpu_ms"]), _same(clip)) for clip in clips]
    return markdown.table(head, [*rows, (*_cells("all", totals(clips)), "")])


def _cells(name: str, cpu_ms: Mapping[str, float]) -> tuple[str, ...]:
    ratio = cpu_ms["reference"] / cpu_ms["rollcall"]
    to_bare, to_one = (cpu_ms["rollcall"] / cpu_ms[name] for name in ("bare", "one process"))
    cells = (f"{cpu_ms['reference']:.0f}", f"{cpu_ms['rollcall']:.1f}")
    return name, *cells, f"{ratio:.1f}", f"{to_bare:.2f}", f"{to_one:.2f}"


def _same(clip: Mapping[str, Any]) -> str:
    return "yes" if clip["names"]["reference"] == clip["names"]["rollcall"] else "NO"
