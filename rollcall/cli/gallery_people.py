"""`rollcall gallery rename`, `merge`, `log` and `undo`: correct the gallery and earlier results."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from rollcall.cli.change_texts import change_sentence
from rollcall.cli.correcting import correct_now, opened_corrections, say_done, user_name
from rollcall.cli.entry import COMMAND_FAILED, command_errors, settings
from rollcall.cli.similar_hint import similar_hint
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.errors import GalleryError
from rollcall.core.names import normalise_name
from rollcall.core.similar_names import similar_names
from rollcall.core.web_protocols import Change, Corrections
from rollcall.database.open_database import open_database
from rollcall.gallery.enrolment import load_for_change
from rollcall.index.change_log import SqlChangeLog
from rollcall.wiring import build_gallery_location

if TYPE_CHECKING:
    from rollcall.corrections.rematch_queue import Done

MAX_CHANGE = 2**63 - 1
"""Largest number that the databases can store."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(cls=Command)
@click.argument("name")
@click.argument("new_name")
@json_option
@command_errors
def rename(name: str, new_name: str, as_json: bool) -> None:
    """Give the person NAME the name NEW_NAME, in the gallery and in all results.

    Exit 1 if the name is not in the gallery, NEW_NAME is taken, or a result cannot be corrected.
    """
    others = set(_check_names(name)) - {normalise_name(name)}

    def change(parts: Corrections) -> int:
        change_id = parts.rename(name, new_name, user_name())
        if hint := similar_hint(normalise_name(new_name), others):
            say(hint, err=True)
        return change_id

    _correct(as_json, change)


@click.command(cls=Command)
@click.argument("name")
@click.argument("into")
@json_option
@command_errors
def merge(name: str, into: str, as_json: bool) -> None:
    """Merge NAME into INTO, the same person, in the gallery and in all results.

    Exit 1 if one of the names is not in the gallery, or a result cannot be corrected.
    """
    _check_names(name, into)
    _correct(as_json, lambda parts: parts.merge(name, into, user_name()))


@click.command(cls=Command)
@click.argument("change", type=click.IntRange(1, MAX_CHANGE))
@json_option
@command_errors
def undo(change: int, as_json: bool) -> None:
    """Undo the change with the number CHANGE, which `rollcall gallery log` shows.

    Exit 1 if the change cannot be undone, or a result cannot be corrected.
    """
    _correct(as_json, lambda parts: parts.undo(change, user_name()))


@click.command("log", cls=Command)
@click.option("--name", default="", help="Only changes that are about this person.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Lines to print."
)
@json_option
@command_errors
def show_log(name: str, limit: int, as_json: bool) -> None:
    """List who changed what, the newest change first."""
    with closing(open_database(settings(offline=True), must_exist=True)) as database:
        lines = SqlChangeLog(database).latest(limit, name=normalise_name(name))
    for line in lines:
        if as_json:
            say_json(dataclasses.asdict(line))
        else:
            say(change_sentence(line))
    if not lines:
        about = f" about {name!r}; write the whole name, as it was at that time" if name else ""
        say(f"the log has no line{about}", err=True)


def _correct(as_json: bool, change: Callable[[Corrections], int]) -> None:
    """Make a correction, correct the results, and print the line of the log."""
    chosen = settings(offline=True)
    with opened_corrections(chosen) as (parts, log):
        change_id = change(parts.corrections)
        done = correct_now(parts.rematcher)
        line, left = log.get(change_id), parts.rematcher.pending()
    if as_json:
        say_json(_document(line, done, left))
    else:
        if line:
            say(change_sentence(line))
        say_done(done, left)
    sys.exit(COMMAND_FAILED if done.failed else 0)


def _check_names(*names: str) -> tuple[str, ...]:
    """The people of the gallery. Raises GalleryError with similar names for somebody else."""
    people = load_for_change(build_gallery_location(settings(offline=True))).people
    for name in names:
        # Without a gallery, the change itself says how to get one.
        if people and normalise_name(name) not in people:
            similar = similar_names(name, people)
            hint = f"; similar names: {', '.join(map(repr, similar))}" if similar else ""
            raise GalleryError(f"{name!r} is not in the gallery{hint}")
    return people


def _document(line: Change | None, done: Done, left: int) -> dict[str, Any]:
    return {"change": line and dataclasses.asdict(line), **done._asdict(), "left": left}
