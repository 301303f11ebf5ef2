"""Searches a million stored encodings for a face: Rollcall beside plain numpy.

    python -m benchmarks.face_search [--encodings 1000000] [--database URL]

A video has ten encodings of two appearances. Each search runs in a process of its own, with one
thread for matrix products, as often as `--runs` says; the table shows the median. *Cold* is a
search of `rollcall find`, which reads the database; *in memory* is a later search of the pages. The
reference reads the same rows and computes all distances at once in double precision.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import PIPE

import numpy as np

from benchmarks import markdown
from rollcall.core.encoding_space import DLIB
from rollcall.core.types import Encodings
from rollcall.database.database import Database
from rollcall.database.open_database import prepare
from rollcall.index.cached_face_search import CachedFaceSearch
from rollcall.index.face_search import FaceBlock, SqlFaceSearch

EACH = 10
"""Encodings of a video."""

NUMBERS = [0] * 5 + [1] * 5
MAX_DISTANCE = 0.6
LIMIT = 200


def drawn(count: int, seed: int) -> Encodings:
    """Random encodings, whose distances are those of strangers (0.85, as in DLIB.strangers)."""
    scale = 0.85 / np.sqrt(2 * DLIB.size)
    return np.random.default_rng(seed).normal(0, scale, (count, DLIB.size))


def fill(database: Database, encodings: int) -> None:
    search = SqlFaceSearch(database)
    videos = encodings // EACH
    for start in range(0, videos, 1000):
        rows = drawn(1000 * EACH, start).reshape(1000, EACH, -1)
        # One person is in every thousandth video.
        rows[0, :5] = drawn(1, 1) + drawn(5, start + 1) / 2
        search.put_all([FaceBlock(start + n, DLIB.name, NUMBERS, rows[n]) for n in range(1000)])


def plain_numpy(database: Database) -> Callable[[Encodings], int]:
    """Everything in double precision, and one row for each video in Python."""

    def find(query: Encodings) -> int:
        with database.reading() as connection:
            blocks = connection.exec_driver_sql("SELECT video_id, encodings FROM face_block").all()
        rows = np.frombuffer(b"".join(row[1] for row in blocks), "<f2").reshape(-1, DLIB.size)
        distances = np.linalg.norm(rows.astype(np.float64) - query, axis=1)
        return len({int(i) // 5 for i in np.flatnonzero(distances <= MAX_DISTANCE)})

    return find


def _search(search: SqlFaceSearch) -> Callable[[Encodings], int]:
    return lambda query: len(search.find(query, DLIB.name, MAX_DISTANCE, LIMIT))


KINDS: dict[str, tuple[Callable[[Database], Callable[[Encodings], int]], bool]] = {
    "plain numpy, cold": (plain_numpy, False),
    "rollcall, cold": (lambda database: _search(SqlFaceSearch(database)), False),
    "rollcall, in memory": (lambda database: _search(CachedFaceSearch(database)), True),
}
"""Each kind, and whether its first search is not counted."""


def measure_here(url: str, kind: str) -> None:
    """Print the result of one search as JSON."""
    make, warm = KINDS[kind]
    with closing(Database(url)) as database:
        find = make(database)
        query = drawn(1, 1)
        if warm:
            find(query)
        started_s, cpu_s = time.perf_counter(), time.process_time()
        found = find(query)
        print(
            json.dumps(
                {
                    "found": found,
                    "wall_s": time.perf_counter() - started_s,
                    "cpu_s": time.process_time() - cpu_s,
                    "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                }
            )
        )


def measure(url: str, kind: str, runs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.face_search", "--database", url, "--one", kind]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    results = [
        json.loads(subprocess.run(command, env=environment, check=True, stdout=PIPE).stdout)
        for _ in range(runs)
    ]
    return {name: statistics.median(each[name] for each in results) for name in results[0]}


def report(url: str, runs: int) -> str:
    results = {kind: measure(url, kind, runs) for kind in KINDS}
    reference = next(iter(results.values()))
    rows = [
        (
            kind,
            f"{result['wall_s']:.2f} s",
            f"{result['cpu_s']:.2f} s",
            f"{reference['cpu_s'] / result['cpu_s']:.1f}",
            f"{result['memory_mb']:.0f} MB",
            f"{result['found']:.0f}",
        )
        for kind, result in results.items()
    ]
    head = ("search", "time", "CPU time", "times faster", "memory", "appearances found")
    return markdown.table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encodings", type=int, default=1_000_000)
    parser.add_argument("--database", default="", help="URL of an empty or already filled database")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure_here(options.database, options.one)
        return
    with tempfile.TemporaryDirectory(prefix="rollcall-bench-") as folder:
        url = options.database or f"sqlite:///{Path(folder) / 'index.sqlite3'}"
        with closing(Database(url)) as database:
            prepare(database)
            if not SqlFaceSearch(database).count():
                fill(database, options.encodings)
        print(report(url, options.runs))


if __name__ == "__main__":
    main()
