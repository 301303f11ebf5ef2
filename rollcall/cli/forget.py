"""`rollcall gallery remove`: forget a person."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from rollcall.cli.entry import FOUND_WRONG, command_errors, settings, tell_gallery
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.names import near_names, normalise_name
from rollcall.core.settings import Settings
from rollcall.gallery.forgetting import Forgetting, Mention, reports_in, results_in
from rollcall.gallery.gallery_formats import is_native
from rollcall.gallery.gallery_places import GalleryPlace, gallery_of
from rollcall.stores.boto import dynamodb_client, s3_client
from rollcall.stores.dynamodb import DynamoStudents
from rollcall.stores.s3 import S3Store
from rollcall.wiring import build_place
from rollcall.worker.forgotten_results import in_files

SHOWN_NAMES = 3
_UNITS = {
    "gallery": "encodings of the gallery",
    "result": "rows of",
    "report": "entries of",
    "record": "records of",
    "file": "rows of",
}


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--everywhere",
    is_flag=True,
    help="Also from results, reports, the worker's files and the student table, old versions too.",
)
@click.option("--yes", is_flag=True, help="Remove the entries; without --yes they are only listed.")
@click.option("--encodings", metavar="FILE", help="The gallery, in place of ENCODINGS.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document per place.")
@command_errors
def remove(name: str, everywhere: bool, yes: bool, encodings: str | None, as_json: bool) -> None:
    """Forget NAME: take all their encodings out of the gallery.

    Videos stay. Exit 1 when nothing names them, or something could not be read.
    """
    chosen = settings(offline=not everywhere)
    if encodings:
        chosen = dataclasses.replace(chosen, encodings=encodings)
    place = build_place(chosen)
    body = place.load()
    known = gallery_of(place, body)
    tell_gallery(place, known)
    traces = []
    for trace in _traces(Forgetting(name, yes), chosen, place, everywhere):
        traces.append(trace)
        if as_json:
            say_json(_document(trace, yes))
        else:
            say(_sentence(trace, yes))
    if not traces:
        _nobody(name, known.people)
    for near in near_names(name, known.people):
        say(
            f"{near!r} looks like that name and stays; if it is the same person, remove it as well",
            err=True,
        )
    renewed = any(trace.kind == "gallery" and not trace.version for trace in traces)
    _advise(chosen, yes, everywhere, pickled=renewed and not is_native(body))
    sys.exit(FOUND_WRONG if any(trace.problem for trace in traces) else 0)


def _traces(
    forgetting: Forgetting, chosen: Settings, place: GalleryPlace, everywhere: bool
) -> Iterator[Mention]:
    """The gallery goes first, so that nothing new names them."""
    yield from forgetting.in_gallery(place)
    if not everywhere:
        return
    store = S3Store(s3_client(chosen))
    yield from forgetting.in_bucket(store, results_in(chosen.output_bucket))
    if chosen.report_bucket:
        yield from forgetting.in_bucket(store, reports_in(chosen.report_bucket))
    students = DynamoStudents(dynamodb_client(chosen), chosen.student_table)
    yield from forgetting.in_students(students, chosen.student_table)
    yield from in_files(forgetting, Path(chosen.results_folder))


def _sentence(trace: Mention, done: bool) -> str:
    if trace.problem:
        return f"not read, and left as it is: {_where(trace)}: {trace.problem}"
    if trace.version:
        return f"{'deleted' if done else 'would delete'}: {_where(trace)}"
    verb = "removed" if done else "would remove"
    return f"{verb}: {trace.count} {_UNITS[trace.kind]} {_where(trace)}"


def _where(trace: Mention) -> str:
    return f"old version {trace.version} of {trace.where}" if trace.version else trace.where


def _document(trace: Mention, done: bool) -> dict[str, Any]:
    return {**dataclasses.asdict(trace), "removed": done and not trace.problem}


def _nobody(name: str, people: tuple[str, ...]) -> None:
    """Refuses to guess."""
    wanted, folded = normalise_name(name).casefold(), {each.casefold(): each for each in people}
    near = [each for each in folded if wanted in each] + get_close_matches(wanted, folded)
    looks = [*near_names(name, people), *(folded[each] for each in near)]
    names = [repr(each) for each in dict.fromkeys(looks)][:SHOWN_NAMES]
    hint = f"; near to it: {', '.join(names)}" if names else ""
    say(f"nothing names {name!r}{hint}", err=True)
    sys.exit(FOUND_WRONG)


def _advise(chosen: Settings, done: bool, everywhere: bool, *, pickled: bool) -> None:
    if everywhere:
        _tell_unreached(chosen)
    if pickled:
        form = "was a pickle and is native now" if done else "is a pickle and would become native"
        say(f"the gallery {form}, under the same name", err=True)
    if not done:
        say("nothing was changed; do it with --yes", err=True)
    elif everywhere:
        wait_s = chosen.encodings_refresh_s + chosen.max_call_s
        say(
            f"functions may still write the name for up to {wait_s:g} s"
            " (ENCODINGS_REFRESH_S and a call in flight); do this once more after that",
            err=True,
        )


def _tell_unreached(chosen: Settings) -> None:
    if not chosen.report_bucket:
        say("REPORT_BUCKET is not set: no reports were looked at", err=True)
    files = Path(chosen.results_folder).is_dir()
    if not files:
        say(
            f"no RESULTS_FOLDER {chosen.results_folder!r} here; where a worker runs, do this on its"
            " machine too",
            err=True,
        )
    if files or chosen.result_queue_url:
        say(
            "messages of the worker's queues, dead letters included, may hold the name for 14 days:"
            " do this once more after a --replay",
            err=True,
        )
