"""`rollcall index rematch`: compare the stored faces of all videos with the gallery again."""

from __future__ import annotations

import sys

import click

from rollcall.cli.correcting import correct_now, opened_corrections, say_done
from rollcall.cli.entry import COMMAND_FAILED, command_errors, settings
from rollcall.cli.terminal import Command, say_json


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def rematch(as_json: bool) -> None:
    """Compare the stored faces of all videos with the gallery again, and correct the results.

    Use this command if the gallery was changed on a machine that cannot use the database, and
    `rollcall web` does not run. Videos are not decoded, and videos whose faces are not stored
    (KEEP_FACES) do not change. The next run, or `rollcall web`, continues an interrupted run.
    Exit 1 if a result cannot be corrected.
    """
    with opened_corrections(settings(offline=True), must_exist=True) as (parts, _):
        parts.corrections.gallery_changed()
        done = correct_now(parts.rematcher)
        left = parts.rematcher.pending()
    if as_json:
        say_json({**done._asdict(), "left": left})
    else:
        say_done(done, left)
    sys.exit(COMMAND_FAILED if done.failed else 0)
