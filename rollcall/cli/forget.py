"""`rollcall gallery remove`: delete a person's encodings, and with --everywhere all their data."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from rollcall.cli.entry import COMMAND_FAILED, command_errors, print_gallery, settings
from rollcall.cli.forget_in_database import (
    alone_in_database,
    former_names,
    has_database,
    in_database,
    leave_results,
    log_removal,
)
from rollcall.cli.progress import waiting
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.keys import FACES_SUFFIX
from rollcall.core.names import lookalike_names
from rollcall.core.protocols import GalleryLocation
from rollcall.core.settings import Settings
from rollcall.core.similar_names import similar_names
from rollcall.gallery.forgetting import (
    Mention,
    PersonRemoval,
    SearchedBucket,
    Seen,
    reports_in,
    results_in,
)
from rollcall.gallery.gallery_formats import is_native
from rollcall.gallery.gallery_locations import parse_gallery_at
from rollcall.recognition.stored_faces import (
    CONTENT_TYPE,
    MAX_FACES_BYTES,
    faces_without,
    has_other_encodings,
)
from rollcall.stores.boto import dynamodb_client, s3_client
from rollcall.stores.buckets import has_bucket
from rollcall.stores.dynamodb import DynamoStudents
from rollcall.stores.s3 import S3Store
from rollcall.wiring import build_gallery_location
from rollcall.worker.forgotten_results import in_files

# The unit of `Mention.count` for each kind, in singular and plural. The location follows it.
_UNITS = {
    "gallery": ("entry of the gallery", "entries of the gallery"),
    "picture": ("picture in", "pictures in"),
    "result": ("row of", "rows of"),
    "report": ("entry of", "entries of"),
    "faces": ("stored face of", "stored faces of"),
    "record": ("record of", "records of"),
    "file": ("row of", "rows of"),
    "appearance": ("appearance in the index of", "appearances in the index of"),
    "change": ("line in the log of", "lines in the log of"),
    "encoding": ("removed photo in", "removed photos in"),
    "answer": ("new result in", "new results in"),
    "message": ("message in", "messages in"),
}


@click.command(cls=Command)
@click.argument("name")
@click.option(
    "--everywhere",
    is_flag=True,
    help="Also remove NAME from results, reports and stored faces with their old versions, the"
    " worker's files, the student table, the index and the log.",
)
@click.option("--yes", is_flag=True, help="Remove the entries; without --yes they are only listed.")
@click.option(
    "--encodings", metavar="FILE", help="Use this gallery instead of the setting ENCODINGS."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document for each location.")
@command_errors
def remove(name: str, everywhere: bool, yes: bool, encodings: str | None, as_json: bool) -> None:
    """Forget NAME: remove the person's encodings from the gallery.

    Videos stay. Exit 1 if the person was not found, or something could not be read.
    """
    chosen = settings(offline=not everywhere)
    if encodings:
        chosen = dataclasses.replace(chosen, encodings=encodings)
    location = build_gallery_location(chosen)
    body = location.load()
    known = parse_gallery_at(location, body)
    print_gallery(location, known)
    mentions = []
    with waiting("removing" if yes else "searching"):
        removal = PersonRemoval(name, dry_run=not yes)
        for mention in find_mentions(removal, chosen, location, everywhere):
            mentions.append(mention)
            if as_json:
                say_json(_document(mention, yes))
            else:
                say(_sentence(mention, yes))
    if mentions and everywhere and yes:
        log_removal(chosen, mentions)
    if not mentions:
        _end_without_mention(name, known.people)
    for near in lookalike_names(name, known.people):
        say(
            f"kept {near!r}, which looks like that name; if it is the same person, remove it too",
            err=True,
        )
    rewritten = any(mention.kind == "gallery" and not mention.version for mention in mentions)
    _advise(chosen, yes, everywhere, converted=rewritten and not is_native(body))
    sys.exit(COMMAND_FAILED if any(mention.problem for mention in mentions) else 0)


def find_mentions(
    removal: PersonRemoval, chosen: Settings, location: GalleryLocation, everywhere: bool
) -> Iterator[Mention]:
    """Yield each location of the name; unless it is a dry run, the name is removed there."""
    if not everywhere:
        # This needs no lock: results may keep the name, also those that are corrected meanwhile.
        yield from removal.remove_from_gallery(location)
        if not removal.dry_run:
            leave_results(chosen, location)
    elif removal.dry_run:
        yield from _mentions_everywhere(removal, chosen, location)
    else:
        with alone_in_database(chosen, removal.name):
            yield from _mentions_everywhere(removal, chosen, location)


def _mentions_everywhere(
    removal: PersonRemoval, chosen: Settings, location: GalleryLocation
) -> Iterator[Mention]:
    removal = dataclasses.replace(removal, former_names=former_names(chosen, removal.name))
    store = S3Store(s3_client(chosen))
    has_reports = bool(chosen.report_bucket) and has_bucket(store, chosen.report_bucket)
    faces, seen = _faces_in(chosen.report_bucket), set[Seen]()
    # Stored faces come before the gallery. If this process dies in between, a correction with the
    # gallery without the person cannot take the name from faces that were not searched yet.
    if has_reports and not removal.dry_run:
        yield from removal.remove_from_current(store, faces, seen)
    # The gallery comes before everything else, so that no new result can name the person.
    yield from removal.remove_from_gallery(location)
    if not removal.dry_run:
        leave_results(chosen, location)
    yield from removal.remove_from_bucket(store, results_in(chosen.output_bucket))
    if has_reports:
        yield from removal.remove_from_bucket(store, reports_in(chosen.report_bucket))
        yield from removal.remove_from_bucket(store, faces, seen)
    students = DynamoStudents(dynamodb_client(chosen), chosen.student_table)
    yield from removal.remove_from_students(students, chosen.student_table)
    yield from in_files(removal, Path(chosen.results_folder))
    yield from in_database(removal, chosen)


def _faces_in(bucket: str) -> SearchedBucket:
    return SearchedBucket(
        "faces",
        bucket,
        FACES_SUFFIX,
        CONTENT_TYPE,
        faces_without,
        MAX_FACES_BYTES,
        has_other_encodings,
    )


def _sentence(mention: Mention, done: bool) -> str:
    if mention.problem:
        return f"could not be read, left unchanged: {_where(mention)}: {mention.problem}"
    if mention.version:
        return f"{'deleted' if done else 'would delete'}: {_where(mention)}"
    verb = "removed" if done else "would remove"
    singular, plural = _UNITS[mention.kind]
    unit = singular if mention.count == 1 else plural
    return f"{verb}: {mention.count} {unit} {_where(mention)}"


def _where(mention: Mention) -> str:
    return f"old version {mention.version} of {mention.where}" if mention.version else mention.where


def _document(mention: Mention, done: bool) -> dict[str, Any]:
    return {**dataclasses.asdict(mention), "removed": done and not mention.problem}


def _end_without_mention(name: str, people: tuple[str, ...]) -> None:
    """Print similar names of the gallery, and end the command without guessing who is meant."""
    similar = similar_names(name, people)
    hint = f"; similar names: {', '.join(map(repr, similar))}" if similar else ""
    say(f"{name!r} was not found{hint}", err=True)
    sys.exit(COMMAND_FAILED)


def _advise(chosen: Settings, done: bool, everywhere: bool, *, converted: bool) -> None:
    """Print which data the command did not reach, and what the user should do next."""
    if everywhere:
        for sentence in _unreached(chosen):
            say(sentence, err=True)
    if converted:
        form = "was a pickle and is native now" if done else "is a pickle and would become native"
        say(f"the gallery {form}, under the same name", err=True)
    if not done:
        say("nothing was changed; to remove the entries, add --yes", err=True)
    elif everywhere:
        say(f"{_late_names(chosen)}; run this again after that", err=True)
    else:
        say(
            "the name stays in results, reports and stored faces; to remove it there too, run this"
            " with --everywhere, before other results are corrected",
            err=True,
        )


def late_s(chosen: Settings) -> float:
    """For that time a function may still use the gallery that it loaded earlier."""
    return chosen.encodings_refresh_s + chosen.max_call_s


def _late_names(chosen: Settings) -> str:
    return (
        f"functions may still write the name for up to {late_s(chosen):g} s"
        " (ENCODINGS_REFRESH_S and a call in flight)"
    )


def _unreached(chosen: Settings) -> list[str]:
    """Sentences, without a full stop, about places that were not searched."""
    sentences = []
    if not has_database(chosen):
        sentences.append(
            "this machine has no database, so the index was not searched; if a trigger runs on"
            " another machine, set DATABASE_URL as there, or run this command there too"
        )
    if not chosen.report_bucket:
        sentences.append("REPORT_BUCKET is empty, so no reports were searched")
    elif not has_bucket(S3Store(s3_client(chosen)), chosen.report_bucket):
        sentences.append(
            f"REPORT_BUCKET {chosen.report_bucket!r} does not exist, so no reports were searched"
        )
    has_files = Path(chosen.results_folder).is_dir()
    if not has_files:
        sentences.append(
            f"RESULTS_FOLDER {chosen.results_folder!r} does not exist on this machine; if a worker"
            " runs on another machine, run this command there too"
        )
    if has_files or chosen.result_queue_url:
        # SQS keeps messages for 14 days at most, and they cannot be edited.
        sentences.append(
            "messages in the worker's queues, dead letters included, may contain the name for up to"
            " 14 days; run this again after a --replay"
        )
    return sentences
