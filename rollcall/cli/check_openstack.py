"""`check.py --flow openstack`: what else has to hold after a first run of the worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollcall.cli.terminal import say_fact
from rollcall.core.errors import PermanentError
from rollcall.core.expectations import Expectation, agrees
from rollcall.core.file_names import file_of_key
from rollcall.core.results import parse_csv
from rollcall.core.settings import Settings
from rollcall.core.texts import same_names
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.worker.counters import read_status
from rollcall.worker.result_files import result_files

POLL_S = 0.25


class NoWorker(PermanentError):
    """No worker has counted anything in that folder."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence with its figures, and whether they are as they should be."""

    text: str
    right: bool


def facts(settings: Settings, mapping: Mapping[str, Expectation]) -> list[Fact]:
    """As the buckets, the worker's counts and its files have it now. Raises NoWorker."""
    folder, videos = Path(settings.results_folder), len(mapping)
    counts = _counts(folder)
    store = S3Store(s3_client(settings))
    keys = [info.key for info in store.list_objects(settings.input_bucket)]
    put, made = len(keys), sum(1 for _ in store.list_objects(settings.output_bucket))
    files, right = len(result_files(folder)), _right(folder, mapping, keys)
    events, calls, most = counts["events"], counts["invoked"], counts["max_at_once"]
    polled = counts["written"] + counts["outdated"]
    return [
        Fact("both buckets were empty at first", counts["buckets_empty_at_first"] is True),
        Fact(f"{put} objects in the input bucket, for {videos} videos", put == videos),
        Fact(f"{events} events taken from the input queue", events == videos),
        Fact(
            f"{calls} calls of the Lambda, up to {most} at once",
            calls == videos and (most > 1 or videos == 1),
        ),
        Fact(f"{made} objects in the output bucket", made == videos),
        Fact(
            f"{polled} messages taken from the result queue, {files} files on disk",
            polled == files == videos,
        ),
        Fact(f"{right} of {videos} files right", right == videos),
    ]


def wait_facts(
    settings: Settings, mapping: Mapping[str, Expectation], timeout_s: float
) -> list[Fact]:
    """Until all are right, or time is over."""
    until = time.monotonic() + timeout_s
    while True:
        found = facts(settings, mapping)
        if all(fact.right for fact in found) or time.monotonic() >= until:
            return found
        time.sleep(POLL_S)


def print_facts(found: list[Fact]) -> None:
    for fact in found:
        say_fact(fact.text, fact.right)


def _counts(folder: Path) -> Mapping[str, Any]:
    counts = read_status(folder)
    if not counts:
        raise NoWorker(
            f"no worker has worked in {str(folder)!r}; run this where it runs, with its"
            " RESULTS_FOLDER"
        )
    return counts


def _right(folder: Path, mapping: Mapping[str, Expectation], keys: list[str]) -> int:
    found = same_names(mapping, keys)
    return sum(
        _agrees(folder / file_of_key(found[name][0]), wanted)
        for name, wanted in mapping.items()
        if len(found[name]) == 1
    )


def _agrees(path: Path, wanted: Expectation) -> bool:
    try:
        return path.is_file() and agrees(wanted, parse_csv(path.read_bytes()))
    except ValueError:
        return False
