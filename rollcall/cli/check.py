"""`check.py`: compare the results in the output bucket with a mapping."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from rollcall.cli.check_openstack import print_facts, wait_facts
from rollcall.cli.entry import COMMAND_FAILED, command_errors, settings
from rollcall.cli.mapping import read_mapping
from rollcall.cli.progress import progress
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
"""Longest result that is read. A row is at most a few hundred bytes long, and a video rarely has
more than a few dozen people."""
POLL_S = 0.25
"""Pause between two checks in `wait`; each check lists both buckets."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: a video with its expected and its actual result."""

    video: str
    expected: str
    got: str
    distance: str
    seconds: float | None
    """Time from the upload to the result by the store's clock; None if there is no such result."""
    right: bool
    settled: bool
    """Whether later checks will give the same answer."""


class Checker:
    """Compares the result of each video with the mapping."""

    def __init__(self, settings: Settings, mapping: Mapping[str, Expectation]) -> None:
        self._store: ObjectStore = S3Store(s3_client(settings))
        self._input = settings.input_bucket
        self._output = settings.output_bucket
        self._mapping = mapping

    def check(self) -> list[Row]:
        """Return a row for each video of the mapping, and one for each result without a video."""
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
        """Check until every row is settled, or for `timeout_s`; return the last rows."""
        until = time.monotonic() + timeout_s
        before = 0
        with progress("waiting", unit="results") as shown:
            while True:
                rows = self.check()
                settled = sum(row.settled for row in rows)
                shown.expect(len(rows))
                shown.advance(settled - before)
                before = settled
                if settled == len(rows) or time.monotonic() >= until:
                    return rows
                time.sleep(POLL_S)

    def _ambiguous(self, name: str, expected: Expectation, keys: Sequence[str]) -> Row:
        # ascii() shows the difference between names that look the same.
        shown = ", ".join(ascii(key) for key in keys)
        problem = f"{len(keys)} videos have this name, in different Unicode forms: {shown}"
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
            # A result without a video cannot change. In all other cases a result may still come.
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
        # Two lines of the mapping have this name, in different Unicode forms. The video was
        # uploaded under one form, so it belongs to the other line.
        if video is None and sum(nfc(other) == nfc(name) for other in self._mapping) > 1:
            return (
                "no such video; another line of the mapping has this name in another Unicode form"
            )
        if result is None:
            return "no result yet; see the log of the trigger, Lambda or worker for the reason"
        if video is None:
            return "the video is not in the input bucket"
        source = self._store.metadata(self._output, result.key).get("source-etag")
        return "" if source == video.etag else "the result of an earlier upload"

    def _strays(self, videos: Iterable[str], results: Mapping[str, ObjectInfo]) -> list[Row]:
        """Return a row for each result that belongs to none of the videos."""
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
    help="File with a line `video:major,year` for each video.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=0,
    metavar="S",
    help="Wait up to S seconds for missing results.",
)
@click.option(
    "--flow",
    type=click.Choice(["openfaas", "lambda", "openstack"]),
    default="openfaas",
    help="openstack: also check the worker's counts and its files in RESULTS_FOLDER, which are"
    " right only after a first run on empty buckets.",
)
@command_errors
def main(mapping: Path, wait_s: float, flow: str) -> None:
    """Compare the results in OUTPUT_BUCKET with a mapping; exit 0 only if all are correct."""
    chosen, expected = settings(), read_mapping(mapping)
    until = time.monotonic() + wait_s  # the limit applies to results and facts together
    rows = Checker(chosen, expected).wait(wait_s)
    print_rows(rows)
    facts = wait_facts(chosen, expected, until - time.monotonic()) if flow == "openstack" else []
    print_facts(facts)
    right = sum(row.right for row in rows)
    say(f"{right}/{len(rows)} correct")
    for row in rows:
        if not row.right:
            say(f"wrong: {row.video}: expected {row.expected}, got {row.got}", err=True)
    all_right = right == len(rows) and all(fact.right for fact in facts)
    sys.exit(0 if all_right else COMMAND_FAILED)


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
