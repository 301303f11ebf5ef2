"""Checks the counts of a first run of the worker, for `check.py --flow openstack`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollcall.cli.progress import waiting
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
"""Pause between two checks in `wait_facts`; each check lists both buckets."""


class NoWorker(PermanentError):
    """The results folder has no counts, so no worker has used it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence with numbers, and whether the numbers are right."""

    text: str
    right: bool


def facts(settings: Settings, mapping: Mapping[str, Expectation]) -> list[Fact]:
    """Read buckets, counts and result files, and compare them with the mapping. Raises NoWorker."""
    folder, videos = Path(settings.results_folder), len(mapping)
    counts = _read_counts(folder)
    store = S3Store(s3_client(settings))
    keys = [info.key for info in store.list_objects(settings.input_bucket)]
    inputs, outputs = len(keys), sum(1 for _ in store.list_objects(settings.output_bucket))
    files, right = len(result_files(folder)), _count_right_files(folder, mapping, keys)
    events, calls, at_once = counts["events"], counts["invoked"], counts["most_at_once"]
    messages = counts["written"] + counts["outdated"]
    return [
        Fact("both buckets were empty at first", counts["buckets_empty_at_first"] is True),
        Fact(f"{inputs} objects in the input bucket, for {videos} videos", inputs == videos),
        Fact(f"{events} events taken from the input queue", events == videos),
        Fact(
            f"{calls} calls of the Lambda, up to {at_once} at once",
            calls == videos and (at_once > 1 or videos == 1),
        ),
        Fact(f"{outputs} objects in the output bucket", outputs == videos),
        Fact(
            f"{messages} messages taken from the result queue, {files} files on disk",
            messages == files == videos,
        ),
        Fact(f"{right} of {videos} files right", right == videos),
    ]


def wait_facts(
    settings: Settings, mapping: Mapping[str, Expectation], timeout_s: float
) -> list[Fact]:
    """Repeat the check until all facts are right, or `timeout_s` is over."""
    until = time.monotonic() + timeout_s
    with waiting("waiting for the worker"):
        while True:
            current = facts(settings, mapping)
            if all(fact.right for fact in current) or time.monotonic() >= until:
                return current
            time.sleep(POLL_S)


def print_facts(checked: list[Fact]) -> None:
    for fact in checked:
        say_fact(fact.text, fact.right)


def _read_counts(folder: Path) -> Mapping[str, Any]:
    counts = read_status(folder)
    if not counts:
        raise NoWorker(
            f"no worker has worked in {str(folder)!r}; run this on the worker's machine, with its"
            " RESULTS_FOLDER"
        )
    return counts


def _count_right_files(folder: Path, mapping: Mapping[str, Expectation], keys: list[str]) -> int:
    """Return how many videos have a result file that agrees with the mapping."""
    keys_by_name = same_names(mapping, keys)
    return sum(
        _agrees(folder / file_of_key(keys_by_name[name][0]), expected)
        for name, expected in mapping.items()
        # If two keys have this name, nobody can say which of them the mapping means.
        if len(keys_by_name[name]) == 1
    )


def _agrees(path: Path, expected: Expectation) -> bool:
    try:
        return path.is_file() and agrees(expected, parse_csv(path.read_bytes()))
    except ValueError:
        return False  # not a result: for example, the file has the error of a failed video
