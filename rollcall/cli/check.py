"""`check.py`: the output bucket against a mapping."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from rollcall.cli.check_openstack import print_facts, wait_facts
from rollcall.cli.entry import FOUND_WRONG, command_errors, settings
from rollcall.cli.mapping import read_mapping
from rollcall.cli.terminal import Command, say, say_table
from rollcall.core.errors import PermanentError
from rollcall.core.expectations import Expectation, agrees
from rollcall.core.keys import result_key
from rollcall.core.names import UNKNOWN
from rollcall.core.protocols import ObjectStore
from rollcall.core.results import parse_csv
from rollcall.core.settings import Settings
from rollcall.core.texts import nfc, same_names
from rollcall.core.types import ObjectInfo
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

MAX_RESULT_BYTES = 1 << 20
POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Row:
    """One video: what was expected, what its result says."""

    video: str
    expected: str
    got: str
    distance: str
    seconds: float | None
    """From the upload to the result, by the store's clock."""
    right: bool
    settled: bool
    """False while waiting may still help."""


class Checker:
    """Compares each video's result with the mapping."""

    def __init__(self, settings: Settings, mapping: Mapping[str, Expectation]) -> None:
        self._store: ObjectStore = S3Store(s3_client(settings))
        self._input = settings.input_bucket
        self._output = settings.output_bucket
        self._mapping = mapping

    def check(self) -> list[Row]:
        """A row per video of the mapping, and one per result that belongs to no video."""
        videos = {info.key: info for info in self._store.list_objects(self._input)}
        results = {info.key: info for info in self._store.list_objects(self._output)}
        keys = same_names(self._mapping, videos)
        rows = [
            self._ambiguous(name, expected, keys[name])
            if len(keys[name]) > 1
            else self._row(name, expected, videos.get("".join(keys[name])), results)
            for name, expected in sorted(self._mapping.items())
        ]
        return rows + self._strays({*videos, *self._mapping}, results)

    def wait(self, timeout_s: float) -> list[Row]:
        """Checks until every video is settled, or time is over."""
        until = time.monotonic() + timeout_s
        while True:
            rows = self.check()
            if all(row.settled for row in rows) or time.monotonic() >= until:
                return rows
            time.sleep(POLL_S)

    def _ambiguous(self, name: str, expected: Expectation, keys: Sequence[str]) -> Row:
        problem = f"{len(keys)} videos have this name, in different Unicode forms: " + ", ".join(
            ascii(key) for key in keys
        )
        return Row(name, str(expected), problem, "", None, False, True)

    def _row(
        self,
        name: str,
        expected: Expectation,
        video: ObjectInfo | None,
        results: Mapping[str, ObjectInfo],
    ) -> Row:
        key = _result_key(video.key if video else name)
        if key is None:
            problem = "the name has no video extension"
            return Row(name, str(expected), problem, "", None, False, True)
        result = results.get(key)
        problem = self._problem(name, video, result)
        if problem or result is None or video is None:
            settled = result is not None and video is None
            return Row(name, str(expected), problem, "", None, False, settled)
        try:
            rows = parse_csv(self._store.read(self._output, result.key, MAX_RESULT_BYTES))
        except (ValueError, PermanentError) as error:
            return Row(name, str(expected), f"unreadable: {error}", "", None, False, True)
        seconds = result.modified_s - video.modified_s
        distances = ", ".join(row["distance"] for row in rows)
        right = agrees(expected, rows)
        return Row(name, str(expected), _people(rows), distances, seconds, right, True)

    def _problem(self, name: str, video: ObjectInfo | None, result: ObjectInfo | None) -> str:
        if video is None and sum(nfc(each) == nfc(name) for each in self._mapping) > 1:
            return (
                "no such video; another line of the mapping has this name in another Unicode form"
            )
        if result is None:
            return "no result yet; the log of the trigger, Lambda or worker says why"
        if video is None:
            return "the video is not in the input bucket"
        source = self._store.metadata(self._output, result.key).get("source-etag")
        return "" if source == video.etag else "the result of an earlier upload"

    def _strays(self, videos: Iterable[str], results: Mapping[str, ObjectInfo]) -> list[Row]:
        wanted = {_result_key(key) for key in videos}
        return [
            Row(key, "no video", "a result", "", None, False, True)
            for key in results
            if key not in wanted
        ]


def print_rows(rows: Iterable[Row]) -> None:
    say_table(
        ("video", "expected", "got", "distance", "time"),
        ((row.right, (row.video, row.expected, row.got, row.distance, _time(row))) for row in rows),
    )


def _time(row: Row) -> str:
    return "" if row.seconds is None else f"{row.seconds:.1f} s"


@click.command(cls=Command)
@click.option(
    "--mapping",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="Lines `video:major,year`.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=0,
    metavar="S",
    help="Wait up to S seconds for results that are missing.",
)
@click.option(
    "--flow",
    type=click.Choice(["openfaas", "lambda", "openstack"]),
    default="openfaas",
    help="openstack: queues, calls and files of a first run as well, from RESULTS_FOLDER.",
)
@command_errors
def main(mapping: Path, wait_s: float, flow: str) -> None:
    """Compare the results in OUTPUT_BUCKET with a mapping; exit 0 only if every video is right."""
    chosen, expected = settings(), read_mapping(mapping)
    until = time.monotonic() + wait_s
    rows = Checker(chosen, expected).wait(wait_s)
    print_rows(rows)
    found = wait_facts(chosen, expected, until - time.monotonic()) if flow == "openstack" else []
    print_facts(found)
    right = sum(row.right for row in rows)
    say(f"{right}/{len(rows)} correct")
    for row in rows:
        if not row.right:
            say(f"wrong: {row.video}: expected {row.expected}, got {row.got}", err=True)
    all_right = right == len(rows) and all(fact.right for fact in found)
    sys.exit(0 if all_right else FOUND_WRONG)


def _result_key(key: str) -> str | None:
    try:
        return result_key(key)
    except PermanentError:
        return None


def _people(rows: Iterable[Mapping[str, str]]) -> str:
    return "; ".join(_person(row) for row in rows) or "nobody"


def _person(row: Mapping[str, str]) -> str:
    if row["name"] == UNKNOWN:
        return UNKNOWN
    record = ", ".join(filter(None, (row["major"], row["year"])))
    return f"{row['name']}: {record or 'no record'}"
