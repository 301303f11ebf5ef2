"""`rollcall`: the commands for a person at a terminal."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click

from rollcall import __version__
from rollcall.cli.checkout import import_from_checkout
from rollcall.cli.entry import FOUND_WRONG, command_errors, settings, tell_gallery
from rollcall.cli.forget import remove
from rollcall.cli.terminal import Group, say, say_json
from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import RollcallError
from rollcall.core.gallery import Gallery
from rollcall.core.names import UNKNOWN, checked_name, checked_new_name, look_of
from rollcall.core.reports import coverage_document, intervals_document, limits_of
from rollcall.core.sampling import SCANS
from rollcall.core.settings import Settings
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.tolerance import decision_for, gallery_tolerance
from rollcall.core.types import Recognition
from rollcall.gallery.enrolment import Enrolment, convert_to, enrol_in, load_for_change
from rollcall.gallery.gallery_places import FilePlace, GalleryPlace, check_space, read_gallery
from rollcall.queues.inbox import Inbox
from rollcall.recognition.recogniser import Recogniser
from rollcall.video.video_files import WholeFile
from rollcall.wiring import build_engine, build_place, build_recogniser, space_of

encodings_option = click.option(
    "--encodings", metavar="FILE", help="The gallery, in place of the setting ENCODINGS."
)
MAX_SHOWN_INTERVALS = 5
"""Intervals of one person on one line; `--json` has all of them."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Group)
@click.version_option(__version__, prog_name="rollcall")
def main() -> None:
    """Know who is in a video."""


@main.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@encodings_option
@click.option("--scan", type=click.Choice(list(SCANS)), help="In place of the setting SCAN.")
@json_option
@command_errors
def recognise(
    videos: tuple[Path, ...], encodings: str | None, scan: str | None, as_json: bool
) -> None:
    """Recognise the people in each of VIDEOS; exit 1 when one cannot be read."""
    chosen = _settings(encodings, scan)
    place = build_place(chosen)
    engine = build_engine(chosen)
    gallery = read_gallery(place, engine.space)
    tell_gallery(place, gallery)
    recogniser = build_recogniser(chosen, engine)
    failed = False
    for video in videos:
        document = _recognise(recogniser, video, gallery)
        failed = failed or document["status"] == "error"
        if as_json:
            say_json(document)
        else:
            say(_sentence(document))
    sys.exit(FOUND_WRONG if failed else 0)


@main.command(name="enrol")
@click.argument("name")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@encodings_option
@command_errors
def enrol_command(name: str, photos: tuple[Path, ...], encodings: str | None) -> None:
    """Add NAME to the gallery, from PHOTOS that show nobody else.

    Good photos are stored even when others are refused. Exit 1 when a photo was refused.
    """
    from rollcall.gallery.photos import read_photo

    chosen = _settings(encodings)
    name = checked_name(name)
    place = build_place(chosen)
    known = load_for_change(place)
    tell_gallery(place, known)
    checked_new_name(name, known.people)
    engine = build_engine(chosen)
    known = check_space(place, known, engine.space)
    tolerance = decision_for(known, chosen.tolerance, engine.space).tolerance
    done = enrol_in(place, name, photos, engine, read_photo, tolerance)
    for kind, sentences in (("", done.notes), ("warning: ", done.warnings), ("", done.refused)):
        for sentence in sentences:
            say(kind + sentence, err=True)
    _tell_stored(name, done, place)
    if len(done.gallery):
        say(str(gallery_tolerance(done.gallery, engine.space, chosen.tolerance)))
    sys.exit(FOUND_WRONG if done.refused else 0)


def _tell_stored(name: str, done: Enrolment, place: GalleryPlace) -> None:
    count = len(done.gallery.encodings_of(name))
    if not done.added and done.refused:
        say(f"error: {name}: nothing was stored", err=True)
    else:
        say(f"{name}: {count} encoding{'' if count == 1 else 's'} in {place}")


@main.group(invoke_without_command=True)
@encodings_option
@json_option
@click.pass_context
@command_errors
def gallery(context: click.Context, encodings: str | None, as_json: bool) -> None:
    """List the people of the gallery, with the number of their encodings."""
    if context.invoked_subcommand:
        if encodings or as_json:
            raise click.UsageError("put --encodings and --json after the subcommand")
        return
    chosen = _settings(encodings)
    place = build_place(chosen)
    known = read_gallery(place)
    tell_gallery(place, known)
    people = {name: known.names.count(name) for name in known.people}
    space = space_of(chosen)
    rates: dict[str, Any] = {}
    if known.space == space.name or not people:
        tolerance = gallery_tolerance(known, space, chosen.tolerance)
        rates = {name: round(value, 4) for name, value in tolerance._asdict().items()}
        shown = str(tolerance)
    else:
        shown = f"encodings of {known.space}: set ENGINE to the engine that made them"
    if as_json:
        say_json({"version": known.version, "space": known.space, "people": people, **rates})
        return
    if people:
        say(shown, err=True)
    for line in [f"{name}: {count}" for name, count in people.items()] or ["nobody"]:
        say(line)


@gallery.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Replace NEW even if it holds other people or encodings.")
@command_errors
def convert(old: Path, new: Path, yes: bool) -> None:
    """Write the gallery OLD, a course's pickle for example, as the native NEW."""
    known = convert_to(FilePlace(old), FilePlace(new), replace=yes)
    for name, near in _look_alikes(known.people).items():
        say(f"warning: {name!r} looks like {near!r}; is it the same person?", err=True)
    say(f"{len(known)} encodings of {len(known.people)} people are in {new}")
    if known.space == DLIB.name:
        native = Gallery(known.names, known.encodings)
        say(str(gallery_tolerance(native, DLIB)))


def _look_alikes(people: Sequence[str]) -> dict[str, str]:
    """For each name that looks like an earlier one, that one."""
    first: dict[str, str] = {}
    return {
        name: first[look]
        for name in people
        if first.setdefault(look := look_of(name), name) != name
    }


gallery.add_command(remove)


@main.command()
@click.option("--id", "ids", type=int, multiple=True, help="Only this dead letter; repeatable.")
@json_option
@command_errors
def replay(ids: tuple[int, ...], as_json: bool) -> None:
    """Put dead letters back into the inbox; a running trigger takes them at once."""
    path = Path(settings(offline=True).inbox)
    if not path.is_file():
        raise click.UsageError(f"no inbox at {str(path)!r}; set INBOX as for the trigger")
    inbox = Inbox(path)
    count = inbox.replay(ids)
    inbox.close()
    unchanged = len(set(ids)) - count if ids else 0
    if as_json:
        say_json({"replayed": count})
    else:
        say(f"put back {count} dead letter{'' if count == 1 else 's'}")
    if unchanged:
        text = f"not dead letters, left unchanged: {unchanged}"
        say(f"{text}; the status page lists the dead letters", err=True)
    sys.exit(FOUND_WRONG if unchanged else 0)


@main.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("state/up"),
    show_default=True,
    help="For logs and inbox.",
)
@click.option(
    "--store",
    type=click.Choice(["embedded", "ceph"]),
    default="embedded",
    show_default=True,
    help="embedded: all in one process; ceph: a Ceph of one node.",
)
@encodings_option
@command_errors
def up(folder: Path, store: Literal["embedded", "ceph"], encodings: str | None) -> None:
    """Run the whole flow on this machine until Ctrl-C: store, function and trigger."""
    run_up = import_from_checkout("devstack.up").run_up
    chosen = _settings(encodings)  # a wrong value is said here, not in the log of a process
    run_up(folder, os.environ, chosen.encodings, lambda: time.sleep(1), store, chosen)


def _settings(encodings: str | None, scan: str | None = None) -> Settings:
    given = {"encodings": encodings, "scan": scan}
    chosen = {name: value for name, value in given.items() if value}
    return dataclasses.replace(settings(offline=True), **chosen)  # type: ignore[arg-type]


def _recognise(recogniser: Recogniser, video: Path, known: Gallery) -> dict[str, Any]:
    try:
        found = recogniser.recognise(WholeFile(video), known, Stopwatch())
    except RollcallError as error:
        return _document(video, "error", [], str(error))
    except OSError as error:
        return _document(video, "error", [], f"cannot be read: {error.strerror}")
    return _document(video, found.status, _people(found), None) | {
        "coverage": coverage_document(found.coverage),
        "limits": limits_of(found.coverage),
    }


def _document(video: Path, status: str, people: list[Any], error: str | None) -> dict[str, Any]:
    return {
        "video": str(video),
        "status": status,
        "people": people,
        "coverage": None,
        "limits": [],
        "error": error,
    }


def _people(found: Recognition) -> list[dict[str, Any]]:
    return [
        {
            "name": person.name or UNKNOWN,
            "distance": None if person.distance is None else round(person.distance, 4),
            "first_seen_s": round(person.first_seen_s, 3),
            "last_seen_s": round(person.last_seen_s, 3),
            "frames": person.frames,
            "intervals": intervals_document(person),
            "certainty": person.certainty or None,
        }
        for person in found.people
    ]


def _sentence(document: dict[str, Any]) -> str:
    if document["error"]:
        return f"{document['video']}: error: {document['error']}"
    texts = [_person_text(person) for person in document["people"]]
    limits = "".join(f"; {limit}" for limit in document["limits"])
    return f"{document['video']}: {', '.join(texts) or 'nobody'}{limits}"


def _person_text(person: dict[str, Any]) -> str:
    """Name, how sure it is, distance and intervals."""
    facts = [person["certainty"]] if person["certainty"] else []
    facts.append(f"distance {person['distance']}")
    spans = [
        f"{start:g} s" if start == end else f"{start:g} to {end:g} s"
        for start, end in person["intervals"]
    ]
    shown = (
        spans
        if len(spans) <= MAX_SHOWN_INTERVALS
        else [*spans[:MAX_SHOWN_INTERVALS], f"{len(spans) - MAX_SHOWN_INTERVALS} more intervals"]
    )
    return f"{person['name']} ({', '.join(facts + shown)})"
