"""`rollcall`: recognise people, manage the gallery and the inbox, and run the flow locally."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import click

from rollcall import __version__
from rollcall.cli.backup import backup, restore
from rollcall.cli.checkout import import_from_checkout
from rollcall.cli.copy_database import copy_database
from rollcall.cli.enrol import enrol_command
from rollcall.cli.entry import COMMAND_FAILED, command_errors, print_gallery, settings
from rollcall.cli.find import find
from rollcall.cli.forget import remove
from rollcall.cli.gallery_check import check
from rollcall.cli.gallery_people import merge, rename, show_log, undo
from rollcall.cli.index import index
from rollcall.cli.purge import purge
from rollcall.cli.recognise import recognise
from rollcall.cli.rerun import rerun
from rollcall.cli.results_command import results
from rollcall.cli.status import status
from rollcall.cli.terminal import Group, say, say_json
from rollcall.cli.web import web
from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery
from rollcall.core.names import appearance_of
from rollcall.core.settings import Settings
from rollcall.core.tolerance import gallery_tolerance
from rollcall.gallery.enrolment import convert_gallery
from rollcall.gallery.gallery_locations import GalleryFile, read_gallery
from rollcall.queues.open_queue import open_queue
from rollcall.wiring import build_gallery_location, space_of

encodings_option = click.option(
    "--encodings", metavar="FILE", help="Use this gallery instead of the setting ENCODINGS."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(cls=Group)
@click.version_option(__version__, prog_name="rollcall")
def main() -> None:
    """Find out who is in a video."""


for _command in (recognise, enrol_command):  # the README shows the commands in this order
    main.add_command(_command)


@main.group(invoke_without_command=True)
@encodings_option
@json_option
@click.pass_context
@command_errors
def gallery(context: click.Context, encodings: str | None, as_json: bool) -> None:
    """List the people in the gallery, with the number of encodings of each person."""
    if context.invoked_subcommand:
        if encodings or as_json:
            raise click.UsageError("put --encodings and --json after the subcommand")
        return
    chosen = _settings(encodings)
    location = build_gallery_location(chosen)
    known = read_gallery(location)
    print_gallery(location, known)
    people = {name: known.names.count(name) for name in known.people}
    space = space_of(chosen)
    rates: dict[str, Any] = {}
    if known.space == space.name or not people:
        tolerance = gallery_tolerance(known, space, chosen.tolerance)
        rates = {name: round(value, 4) for name, value in tolerance._asdict().items()}
        shown = str(tolerance)
    else:
        shown = f"the encodings are of {known.space}; set ENGINE to the engine that made them"
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
@click.option(
    "--yes", is_flag=True, help="Replace NEW even if it contains other people or encodings."
)
@command_errors
def convert(old: Path, new: Path, yes: bool) -> None:
    """Convert the gallery OLD, for example a pickled one, to the native format in NEW."""
    known = convert_gallery(GalleryFile(old), GalleryFile(new), replace_other=yes)
    for name, earlier in _look_alikes(known.people).items():
        say(f"warning: {name!r} looks like {earlier!r}; is it the same person?", err=True)
    say(f"{len(known)} encodings of {len(known.people)} people are in {new}")
    if known.space == DLIB.name:
        # A pickle keeps the tolerance 0.6. Show the one that the native gallery will have.
        native = Gallery(known.names, known.encodings)
        say(str(gallery_tolerance(native, DLIB)))


def _look_alikes(people: Sequence[str]) -> dict[str, str]:
    """Return each name that looks like an earlier one in the list, with the earlier name."""
    first: dict[str, str] = {}
    """Appearance -> the first name that has it."""
    return {
        name: first[look]
        for name in people
        if first.setdefault(look := appearance_of(name), name) != name
    }


for _command in (check, remove, rename, merge, undo, show_log):
    gallery.add_command(_command)


@main.command()
@click.option(
    "--id",
    "ids",
    type=int,
    multiple=True,
    help="Put back only the dead letter with this id; repeatable.",
)
@click.option(
    "--notices",
    is_flag=True,
    help="Put back messages for RESULT_WEBHOOK_URL that were given up, instead of videos.",
)
@json_option
@command_errors
def replay(ids: tuple[int, ...], notices: bool, as_json: bool) -> None:
    """Put dead letters back into the trigger's inbox; a running trigger retries them at once."""
    with closing(open_queue(settings(offline=True), must_exist=True)) as queue:
        count = queue.outbox.replay(ids) if notices else queue.replay(ids)
    unchanged = len(set(ids)) - count if ids else 0
    if as_json:
        say_json({"replayed": count})
    else:
        say(f"put back {count} dead letter{'' if count == 1 else 's'}")
    if unchanged:
        where = "the trigger's log" if notices else "the status page"
        text = f"not dead letters, left unchanged: {unchanged}"
        say(f"{text}; {where} lists the dead letters", err=True)
    sys.exit(COMMAND_FAILED if unchanged else 0)


for _command in (find, status, rerun, purge, backup, restore, copy_database, web, index, results):
    main.add_command(_command)


@main.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("state/up"),
    show_default=True,
    help="Folder for the logs and the inbox.",
)
@click.option(
    "--store",
    type=click.Choice(["embedded", "ceph"]),
    default="embedded",
    show_default=True,
    help="embedded: a store in memory; ceph: a Ceph cluster of one node.",
)
@encodings_option
@command_errors
def up(folder: Path, store: Literal["embedded", "ceph"], encodings: str | None) -> None:
    """Run the whole flow on this machine until Ctrl-C: store, function and trigger."""
    run_up = import_from_checkout("devstack.up").run_up
    chosen = _settings(encodings)  # a wrong value ends this command instead of a child process
    run_up(folder, os.environ, chosen.encodings, lambda: time.sleep(1), store, chosen)


def _settings(encodings: str | None) -> Settings:
    chosen = settings(offline=True)
    return dataclasses.replace(chosen, encodings=encodings) if encodings else chosen
