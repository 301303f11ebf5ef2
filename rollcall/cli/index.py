"""`rollcall index`: look after the index of who appeared when."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing

import click

from rollcall.cli.durations import duration_text
from rollcall.cli.entry import command_errors, settings
from rollcall.cli.progress import progress, waiting
from rollcall.cli.rematch_command import rematch
from rollcall.cli.same_people import join_same_people
from rollcall.cli.terminal import Group, say, say_json
from rollcall.core.errors import SettingsError, TransientError
from rollcall.database.open_database import open_database
from rollcall.database.removal_lock import correcting_later
from rollcall.index.index_counts import IndexCounts, index_counts
from rollcall.index.rebuild import Rebuild, Rebuilt
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store


@click.group(cls=Group)
def index() -> None:
    """Manage the index of who appeared when.

    The trigger fills the index. It can be rebuilt from the reports in REPORT_BUCKET at any time.
    """


index.add_command(rematch)


@index.command()
@click.option("--after", default="", metavar="KEY", help="Begin after the video with this key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def rebuild(after: str, as_json: bool) -> None:
    """Fill the index again from the reports and stored faces in REPORT_BUCKET.

    Videos that have no report any more are removed from the index. The trigger and the pages may
    run meanwhile. A rebuild that was interrupted can be continued with --after.
    """
    chosen = settings(offline=True)
    if not chosen.report_bucket:
        raise SettingsError(
            "REPORT_BUCKET is empty, so there are no reports to fill the index from; set it to the"
            " bucket for the reports, and recognise the videos again with rollcall rerun"
        )
    store = S3Store(s3_client(chosen))
    with closing(open_database(chosen)) as database:
        job = Rebuild(database, store, chosen.input_bucket, chosen.report_bucket)
        try:
            _rebuild(job, after)
        except (KeyboardInterrupt, TransientError):
            if job.result.last_key:
                key = shlex.quote(job.result.last_key)
                say(f"to continue from here, run: rollcall index rebuild --after {key}", err=True)
            raise
        with correcting_later(database):
            join_same_people(database, chosen)
    document = _document(job.result)
    if as_json:
        say_json(document)
    else:
        say(_sentence(job.result))


def _rebuild(job: Rebuild, after: str) -> None:
    with progress("listing reports", unit="reports") as listing:
        count = job.list_reports(after, listing.advance)
    with progress("indexing", count, "videos") as indexing:
        job.put_reports(indexing.advance)
    with waiting("comparing the index with the reports"):
        job.put_dead_letters()
        job.remove_others()


def _document(result: Rebuilt) -> dict[str, int]:
    return {
        "indexed": result.filled.put,
        "dead_letters": result.failed,
        "removed": result.removed,
        "unreadable": result.filled.unreadable,
    }


def _sentence(result: Rebuilt) -> str:
    text = f"indexed {result.filled.put} videos and {result.failed} dead letters"
    if result.removed:
        text += f"; removed {result.removed} without a report"
    if result.filled.unreadable:
        text += f"; left out {result.filled.unreadable} reports that cannot be read"
    return text


@index.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def status(as_json: bool) -> None:
    """Show how much the index contains, and whether results are missing in it."""
    with closing(open_database(settings(offline=True), must_exist=True)) as database:
        counts = index_counts(database)
        with database.reading() as connection:
            now_s = database.now_s(connection)
    age_s = None if counts.newest_s is None else round(max(0.0, now_s - counts.newest_s), 1)
    if as_json:
        say_json({**counts._asdict(), "newest_age_s": age_s})
        return
    for line in _status_lines(counts, age_s):
        say(line)


def _status_lines(counts: IndexCounts, age_s: float | None) -> Iterator[str]:
    by_status = ", ".join(f"{status} {count}" for status, count in counts.videos.items())
    yield f"videos: {sum(counts.videos.values())}{f' ({by_status})' if by_status else ''}"
    yield f"people: {counts.people}, who appear {counts.appearances} times, unknown ones included"
    yield f"stored encodings: {counts.encodings}; groups of unknown faces: {counts.groups}"
    yield f"results that are not in the index yet: {counts.unindexed}"
    if age_s is not None:
        yield f"newest result: {duration_text(age_s)} ago"
