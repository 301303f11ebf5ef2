"""The command behind `make bench`: measures, prints the tables, and writes JSON and a picture."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.bench import Bench, Sizes
from benchmarks.plot import draw
from benchmarks.report import SECTIONS, merge, report, write_block
from devstack.build_context import REPOSITORY
from devstack.store_servers import StoreName

PAGE = REPOSITORY / "docs" / "performance.md"
FORMAT = 2
"""Version of the JSON. Results of another version are not merged with new results."""


def parse_only(context: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    """Return the sections in the order of the report. An empty value means all."""
    names = {name.strip() for name in value.split(",") if name.strip()} or set(SECTIONS)
    if unknown := sorted(names - set(SECTIONS)):
        raise click.BadParameter(
            f"unknown sections: {', '.join(unknown)}; choose from {', '.join(SECTIONS)}"
        )
    return [name for name in SECTIONS if name in names]


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder with videos/, encoding, mapping and student_data.json, as for the demo.",
)
@click.option("--only", default="", callback=parse_only, help="Sections, separated by commas.")
@click.option(
    "--store", type=click.Choice(["embedded", "ceph"]), default="embedded", show_default=True
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("state/bench.json"), show_default=True
)
@click.option("--write-docs", is_flag=True, help=f"Update docs/{PAGE.name} and its picture.")
def main(data: Path, only: list[str], store: StoreName, out: Path, write_docs: bool) -> None:
    """Measure Rollcall and a reference flow. Sections not measured now keep earlier results."""
    if not shutil.which("ffmpeg"):
        raise click.UsageError("the program ffmpeg is missing: apt-get install ffmpeg")
    measured = measure_all(data, only, store)
    results = merge(_earlier_results(out), {**_format_and_machine(), **measured})
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(results, indent=1) + "\n")
    draw(results, out.with_suffix(".png"))
    click.echo(report(results))
    if write_docs:
        write_block(PAGE, report(results))
        draw(results, PAGE.with_suffix(".png"))


def measure_all(
    data: Path, only: list[str], store: StoreName, sizes: Sizes | None = None
) -> dict[str, Any]:
    """Measure one section after the other, in a temporary folder."""
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(data, Path(folder), store, sizes or Sizes())
        for name in only:
            click.echo(f"measuring {name} ...", err=True)
            results[name] = SECTIONS[name].run(bench)
    return results


def _earlier_results(out: Path) -> dict[str, Any]:
    """Return the results in the file if they are from this machine and in this format."""
    earlier: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    return earlier if _format_and_machine().items() <= earlier.items() else {}


def _format_and_machine() -> dict[str, Any]:
    machine = f"{_cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"format": FORMAT, "machine": machine}


def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.split(": ")[1] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


if __name__ == "__main__":
    main()
