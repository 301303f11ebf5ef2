"""`rollcall results`: who was in which video."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from rollcall.cli.absent_people import show_absent
from rollcall.cli.dates import period_between
from rollcall.cli.entry import COMMAND_FAILED, command_errors, settings
from rollcall.cli.name_lists import read_names
from rollcall.cli.shown_times import intervals_text, moment, moment_text
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.coverages import limits_in, stopped_at_s, was_forgotten
from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.core.results import csv_line
from rollcall.database.database import Database
from rollcall.database.open_database import open_database
from rollcall.index.rematch_rows import pending
from rollcall.index.result_queries import MAX_SIMILAR, Period, ResultQueries
from rollcall.index.video_queries import VideoQueries

COLUMNS = (
    "uploaded",
    "bucket",
    "key",
    "status",
    "name",
    "first_seen_s",
    "last_seen_s",
    "intervals",
    "distance",
    "certainty",
)
"""The columns of the CSV. It has a row for each appearance, and one for a video without people."""

MAX_SHOWN_INTERVALS = 6


@click.command(cls=Command)
@click.option(
    "--person", metavar="NAME", help="Only videos with this person; a part of the name is enough."
)
@click.option(
    "--since",
    metavar="TIME",
    help="Only uploads since this time, for example 2026-11-01 or '7 days'.",
)
@click.option(
    "--until",
    metavar="TIME",
    help="Only uploads until this time, for example yesterday or 'last week'.",
)
@click.option("--unknown", is_flag=True, help="Only videos with unknown people.")
@click.option(
    "--absent",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="List who of the names in FILE was not seen: one name per line (`First Last` or `Last,"
    " First`), the column `name` or the columns `first name` and `last name` of a CSV, or"
    " student_data.json.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a row for each appearance.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a line for each video.")
@command_errors
def results(
    person: str | None,
    since: str | None,
    until: str | None,
    unknown: bool,
    absent: Path | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show who was in which video and when, from the index. Exit 1 if nothing was found.

    The times are those of the uploads. A day ends at midnight on the clock of this machine; the
    pages count days in UTC.
    """
    if absent and (person or unknown):
        raise click.UsageError("--absent cannot be combined with --person and --unknown")
    if person is not None and not normalise_name(person):
        raise click.UsageError("--person needs a name")
    if as_csv and as_json:
        raise click.UsageError("choose one of --csv and --json")
    period = period_between(since, until, datetime.now().astimezone())
    names = read_names(absent) if absent else []
    with closing(open_database(settings(offline=True), must_exist=True)) as database:
        queries = ResultQueries(database)
        # Counted before the results are read, because a video may be corrected in between.
        waiting = _waiting(database)
        if absent:
            found = show_absent(queries, names, period, as_csv=as_csv, as_json=as_json)
        else:
            known = _person(database, person) if person else None
            found = (known is not None or not person) and _show_videos(
                queries, period, known, unknown, as_csv=as_csv, as_json=as_json
            )
    if waiting:
        say(
            f"{waiting} video{' is' if waiting == 1 else 's are'} still being compared with the"
            " gallery, so some results may change",
            err=True,
        )
    sys.exit(0 if found else COMMAND_FAILED)


def _waiting(database: Database) -> int:
    """The number of videos whose results are about to be corrected."""
    with database.reading() as connection:
        return pending(connection)


def _person(database: Database, text: str) -> tuple[int, str] | None:
    """The id and the name of the person with this name, or of the only one whose name contains it.

    For nobody and for several people, print what to write instead, and return None.
    """
    queries = ResultQueries(database)
    if exact := queries.person(text):
        return exact
    names = VideoQueries(database).names(normalise_name(text), MAX_SIMILAR + 1)
    if len(names) == 1:
        say(f"showing the videos of {names[0]!r}", err=True)
        return queries.person(names[0])
    if names:
        shown = ", ".join(map(repr, names[:MAX_SIMILAR]))
        more = " and others" if len(names) > MAX_SIMILAR else ""
        say(f"{text!r} is in several names: {shown}{more}; write more of the name", err=True)
        return None
    similar = ", ".join(map(repr, queries.similar(text)))
    hint = f"; similar names: {similar}" if similar else ""
    say(f"nobody named {text!r} was seen in a video{hint}", err=True)
    return None


def _show_videos(
    queries: ResultQueries,
    period: Period,
    known: tuple[int, str] | None,
    unknown: bool,
    *,
    as_csv: bool,
    as_json: bool,
) -> bool:
    """Print the videos. Return whether there were any."""
    wanted = _Wanted(known[1] if known else "", unknown)
    found = queries.videos(period, known[0] if known else None, unknown=unknown)
    if as_csv:
        say(csv_line(COLUMNS))
    count = 0
    for video in found:
        count += 1
        if as_json:
            say_json(_document(video))
        else:
            for line in _csv_lines(video, wanted) if as_csv else _lines(video, wanted):
                say(line)
    if not count:
        say("no video was found", err=True)
    elif not (as_csv or as_json):
        say(f"{count} video{'' if count == 1 else 's'}", err=True)
    return bool(count)


class _Wanted:
    """Which people of a video are shown."""

    def __init__(self, name: str, unknown: bool) -> None:
        self._name = name
        self._all = not (name or unknown)
        self._unknown = unknown

    def __call__(self, each: Appearance) -> bool:
        if self._all:
            return True
        return each.name == self._name if each.name else self._unknown


def _lines(video: IndexedVideo, wanted: _Wanted) -> Iterator[str]:
    shown = [each for each in video.people if wanted(each)]
    if video.status == "error":
        what = f": not recognised: {video.error_message or video.error_code}"
    else:
        what = "" if shown else f": {_nobody(video)}"
    others = len(video.people) - len(shown)
    if others:
        what += f" (and {others} other{'' if others == 1 else 's'})"
    yield f"{moment_text(video.uploaded_s)}  {video.key}{what}"
    rest = "; the rest was not searched" if _stopped(video) else ""
    for each in shown:
        yield f"    {_person_text(each)}{rest}"


def _nobody(video: IndexedVideo) -> str:
    is_forgotten = not video.people and was_forgotten(video.coverage)
    return "nobody any more, because somebody was forgotten" if is_forgotten else "nobody"


def _stopped(video: IndexedVideo) -> bool:
    """Whether the search stopped before the end of the video, whose length may not be known."""
    stop_s = stopped_at_s(video.coverage)
    return stop_s is not None and (not video.duration_s or stop_s < video.duration_s)


def _person_text(each: Appearance) -> str:
    facts: list[str] = [each.certainty] if each.certainty else []
    if each.distance is not None:
        facts.append(f"distance {each.distance:.2f}")
    sure = f" ({', '.join(facts)})" if facts else ""
    return f"{each.name or UNKNOWN}{sure}: {intervals_text(each.intervals, MAX_SHOWN_INTERVALS)}"


def _csv_lines(video: IndexedVideo, wanted: _Wanted) -> Iterator[str]:
    start = [_iso(video.uploaded_s), video.bucket, video.key, video.status]
    shown: Iterable[Appearance] = [each for each in video.people if wanted(each)]
    for each in shown:
        intervals = "; ".join(f"{start_s:g}-{end_s:g}" for start_s, end_s in each.intervals)
        times = [f"{each.first_s:g}", f"{each.last_s:g}", intervals]
        distance = "" if each.distance is None else f"{each.distance:g}"
        yield csv_line([*start, each.name or UNKNOWN, *times, distance, each.certainty])
    if not shown:
        yield csv_line([*start, *([""] * (len(COLUMNS) - len(start)))])


def _document(video: IndexedVideo) -> dict[str, Any]:
    error = {"code": video.error_code, "message": video.error_message}
    return {
        "video": {"bucket": video.bucket, "key": video.key, "etag": video.etag},
        "uploaded": _iso(video.uploaded_s),
        "status": video.status,
        "duration_s": video.duration_s,
        "people": [
            {
                "name": each.name or UNKNOWN,
                "distance": each.distance,
                "certainty": each.certainty or None,
                "first_seen_s": each.first_s,
                "last_seen_s": each.last_s,
                "frames": each.frames,
                "intervals": each.intervals,
            }
            for each in video.people
        ],
        "coverage": dict(video.coverage) or None,
        "limits": limits_in(video.coverage),
        "corrected": video.corrected,
        "error": error if video.status == "error" else None,
    }


def _iso(at_s: float) -> str:
    return moment(at_s).isoformat(timespec="seconds")
