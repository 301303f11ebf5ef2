"""Lists the sections, and writes their tables into one text and into docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import (
    auto,
    clips,
    cold_start,
    detector,
    encodings,
    gallery,
    growth,
    index,
    memory,
    pages,
    ranged,
    reconcile,
    stages,
    throughput,
    timeline,
    trigger,
)

SECTIONS: Mapping[str, ModuleType] = {
    "clips": clips,
    "encodings": encodings,
    "detector": detector,
    "cold_start": cold_start,
    "stages": stages,
    "throughput": throughput,
    "memory": memory,
    "timeline": timeline,
    "auto": auto,
    "growth": growth,
    "gallery": gallery,
    "ranged": ranged,
    "trigger": trigger,
    "reconcile": reconcile,
    "pages": pages,
    "index": index,
}
"""The sections in the order of the report. Each module has a `TITLE`, `run(bench)`, which measures,
and `table(results)`, which writes what `run` returned as Markdown."""

_BLOCK = re.compile(r"(<!-- bench -->\n).*(<!-- /bench -->)", re.DOTALL)


def report(results: Mapping[str, Any]) -> str:
    """Return the Markdown of every section that was measured."""
    parts = [f"Machine: {results['machine']}."]
    for name, section in SECTIONS.items():
        if name in results:
            parts.append(f"## {section.TITLE}\n\n{section.table(results[name])}")
    return "\n\n".join(parts)


def merge(older: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the earlier results; those of sections that were measured again are replaced.

    In sections with results for each store, only those of the measured store are replaced.
    """
    both = {**older, **newer}
    for name in newer.keys() & older.keys():
        if isinstance(newer[name], dict):
            both[name] = {**older[name], **newer[name]}
    return both


def write_block(page: Path, text: str) -> None:
    """Write the text between the page's markers. Raises ValueError if the page has none."""
    changed, count = _BLOCK.subn(lambda block: f"{block[1]}{text}\n{block[2]}", page.read_text())
    if count != 1:
        raise ValueError(f"{page} has no <!-- bench --> and <!-- /bench -->")
    page.write_text(changed)
