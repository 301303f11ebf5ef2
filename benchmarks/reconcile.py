"""Measures scans of the reconciler over many videos that have results.

The reference keeps both listings in Python and asks for the metadata of one result after the other,
as Rollcall did at first. It is measured up to `Sizes.reference_objects`, because a million objects
would take half an hour. The database is an SQLite file. Run alone: `make bench ONLY=reconcile`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks import markdown
from benchmarks.bench import Bench
from devstack.build_context import REPOSITORY

TITLE = "Scans of the reconciler"

_TRANSACTIONS = ("median_ms", "longest_ms")


def run(bench: Bench) -> list[dict[str, Any]]:
    """Return the costs of a first and a second scan, by way and number of videos."""
    results = []
    for objects in bench.sizes.reconciled_objects:
        if objects <= bench.sizes.reference_objects:
            results.append({"way": "reference", "objects": objects, "passes": _passes(objects)})
        file = bench.folder / "reconcile.sqlite3"
        passes = _passes(objects, f"--database=sqlite:///{file}")
        results.append({"way": "rollcall", "objects": objects, "passes": passes})
        for path in bench.folder.glob(f"{file.name}*"):
            path.unlink()
    return results


def _passes(objects: int, *arguments: str) -> Any:
    argv = [sys.executable, "-m", "benchmarks.reconcile_pass", f"--objects={objects}", *arguments]
    done = subprocess.run(argv, cwd=Path(REPOSITORY), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def table(results: list[dict[str, Any]]) -> str:
    head = (
        "videos",
        "listings",
        "scan",
        "seconds",
        "CPU seconds",
        "peak memory, MB",
        "requests per video",
        "transactions, ms: median",
        "longest",
    )
    rows = [
        (
            f"{each['objects']:,}",
            "in Python" if each["way"] == "reference" else "in SQLite",
            scan,
            markdown.number(costs["wall_s"]),
            markdown.number(costs["cpu_s"]),
            f"{costs['peak_mb']:.0f}",
            markdown.number(costs["requests"] / each["objects"]),
            *(markdown.number(costs[name]) if name in costs else "" for name in _TRANSACTIONS),
        )
        for each in results
        for scan, costs in zip(("first", "second"), each["passes"], strict=True)
    ]
    return markdown.table(head, rows)
