"""`make bench`: a table on the terminal, and everything as JSON.

Reference and Rollcall take turns on every clip, so that a busy moment of the machine meets both.
Medians are given; ratios of CPU time are what to quote.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import cv2
import face_recognition
import numpy as np

from benchmarks.bare import Bare
from benchmarks.measure import Cost, measure
from benchmarks.reference import recognise as recognise_by_reference
from rollcall.core.gallery_formats import parse_gallery
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import Stopwatch
from rollcall.video_files import WholeFile
from rollcall.wiring import build_engine, build_recogniser

REPEATS = 5
PROJECT = Path(__file__).resolve().parents[1]


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="Folder with videos/ and encoding, as for the demo.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("state/bench.json"), show_default=True
)
def main(data: Path, out: Path) -> None:
    """Measure Rollcall beside a reference flow, in one process and one run."""
    if not shutil.which("ffmpeg"):
        raise click.UsageError("the reference needs ffmpeg: apt-get install ffmpeg")
    with tempfile.TemporaryDirectory() as cache:
        settings = Settings(model_cache=cache)
        results = {
            "machine": f"{_cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "clips": clips(data, settings),
            "encodings": {"largest_l2": largest_difference(data, settings)},
            "cold_start": cold_start(data, settings),
        }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    click.echo(table(results))


def clips(data: Path, settings: Settings) -> list[dict[str, Any]]:
    """Per clip: names and median cost of reference, Rollcall, and the bare library calls."""
    gallery = parse_gallery((data / "encoding").read_bytes())
    recogniser = build_recogniser(settings, build_engine(settings))
    bare = Bare(Path(settings.model_cache))

    def ours(video: Path) -> str:
        people = recogniser.recognise(WholeFile(video), gallery, Stopwatch()).people
        return people[0].name if people else ""

    flows: dict[str, Callable[[Path], Any]] = {
        "reference": lambda video: recognise_by_reference(video, data / "encoding"),
        "rollcall": ours,
        "bare": bare.run,
    }
    return [_clip(video, flows) for video in sorted((data / "videos").iterdir())]


def _clip(video: Path, flows: dict[str, Callable[[Path], Any]]) -> dict[str, Any]:
    costs: dict[str, list[Cost]] = {name: [] for name in flows}
    names = {}
    for number in range(REPEATS + 1):
        for name, flow in flows.items():
            cost, names[name] = measure(lambda flow=flow: flow(video))  # type: ignore[misc]
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


def largest_difference(data: Path, settings: Settings) -> float:
    """Of an encoding to that of `face_recognition` for the same box, over first frames."""
    engine = build_engine(settings)
    differences = []
    for video in sorted((data / "videos").iterdir()):
        _, bgr = cv2.VideoCapture(str(video)).read()
        rgb = np.ascontiguousarray(bgr[..., ::-1])
        for face in engine.faces(rgb):
            (theirs,) = face_recognition.face_encodings(rgb, [tuple(face.box)])
            differences.append(float(np.linalg.norm(theirs - face.encoding)))
    return max(differences)


def cold_start(data: Path, settings: Settings) -> dict[str, float]:
    """CPU ms of a process from its start to its first answer, and of the reference's import."""
    video = min((data / "videos").iterdir())
    answer = ["-m", "rollcall", "recognise", str(video), "--encodings", str(data / "encoding")]
    calls = {"rollcall_first_answer": answer, "reference_import": ["-c", "import face_recognition"]}
    environment = {**os.environ, "MODEL_CACHE": settings.model_cache}

    def run(arguments: list[str]) -> None:
        argv = [sys.executable, "-W", "ignore", *arguments]
        subprocess.run(argv, check=True, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)

    return {
        name: round(median(measure(lambda a=a: run(a))[0].cpu_ms for _ in range(REPEATS)), 0)  # type: ignore[misc]
        for name, a in calls.items()
    }


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "| clip | reference, CPU ms | Rollcall, CPU ms | ratio | to the bare calls | same name |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_line(clip) for clip in results["clips"]]
    names = ("reference", "rollcall", "bare")
    totals = {name: sum(clip["cpu_ms"][name] for clip in results["clips"]) for name in names}
    lines.append(_line({"video": "all", "cpu_ms": totals, "names": {}}))
    cold = results["cold_start"]
    return "\n".join(
        [
            *lines,
            "",
            f"Largest difference of an encoding (L2): {results['encodings']['largest_l2']:.1e}",
            f"Cold start to the first answer: {cold['rollcall_first_answer']:.0f} ms CPU"
            f" (`import face_recognition` alone: {cold['reference_import']:.0f} ms)",
            f"Machine: {results['machine']}",
        ]
    )


def _line(clip: dict[str, Any]) -> str:
    cpu = clip["cpu_ms"]
    same = len(set(clip["names"].values())) == 1 if clip["names"] else None
    mark = "" if same is None else "yes" if same else "NO"
    ratio, bare = cpu["reference"] / cpu["rollcall"], cpu["rollcall"] / cpu["bare"]
    return (
        f"| {clip['video']} | {cpu['reference']:.0f} | {cpu['rollcall']:.1f} | {ratio:.1f}"
        f" | {bare:.2f} | {mark} |"
    )


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(": ")[1] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


if __name__ == "__main__":
    main()
