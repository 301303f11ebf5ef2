"""Measures the CPU time of a process from its start to its first answer, in milliseconds.

The reference is only the import of `face_recognition`, which typical scripts need. Run alone:
`make bench ONLY=cold_start`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from statistics import median

from benchmarks.bench import Bench
from benchmarks.measure import measure
from devstack.build_context import REPOSITORY

TITLE = "Cold start"


def run(bench: Bench) -> dict[str, float]:
    """Return the median CPU milliseconds. They do not include the conversion of the models."""
    video, gallery = str(bench.videos[0].resolve()), str(bench.encodings)
    answer = ["-m", "rollcall", "recognise", video, "--encodings", gallery]
    calls = {"rollcall_first_answer": answer, "reference_import": ["-c", "import face_recognition"]}

    def start(arguments: list[str]) -> None:
        argv = [sys.executable, "-W", "ignore", *arguments]
        quiet = subprocess.DEVNULL
        subprocess.run(argv, check=True, cwd=REPOSITORY, env=bench.environ, stdout=quiet)

    start(answer)  # converts the models, so that no measured process has to
    repeats = bench.sizes.repeats
    return {name: _median_ms(partial(start, each), repeats) for name, each in calls.items()}


def _median_ms(call: Callable[[], None], repeats: int) -> float:
    return round(median(measure(call)[0].cpu_ms for _ in range(repeats)), 0)


def table(result: dict[str, float]) -> str:
    return (
        f"From the start of a process to its first answer: {result['rollcall_first_answer']:.0f}"
        f" ms CPU (`import face_recognition` alone: {result['reference_import']:.0f} ms)."
    )
