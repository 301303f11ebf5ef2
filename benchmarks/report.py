"""All tables in one text, and the part of docs/performance.md that is generated."""

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
    memory,
    ranged,
    stages,
    throughput,
    timeline,
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
}
"""In the order of the report; each has `TITLE`, `run(bench)` and `table(what run returned)`."""

_BLOCK = re.compile(r"(<!-- bench -->\n).*(<!-- /bench -->)", re.DOTALL)


def report(results: Mapping[str, Any]) -> str:
    """Markdown of every section that was measured."""
    parts = [f"Machine: {results['machine']}."]
    for name, section in SECTIONS.items():
        if name in results:
            parts.append(f"## {section.TITLE}\n\n{section.table(results[name])}")
    return "\n\n".join(parts)


def merge(older: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured now replaces what was measured before; a section by store keeps the
    other store's part."""
    both = {**older, **newer}
    for name in newer.keys() & older.keys():
        if isinstance(newer[name], dict):
            both[name] = {**older[name], **newer[name]}
    return both


def write_block(page: Path, text: str) -> None:
    """Between the page's markers. Raises ValueError when it has none."""
    changed, count = _BLOCK.subn(lambda found: f"{found[1]}{text}\n{found[2]}", page.read_text())
    if count != 1:
        raise ValueError(f"{page} has no <!-- bench --> and <!-- /bench -->")
    page.write_text(changed)
