"""`rollcall purge`: delete old finished work from the trigger's database."""

from __future__ import annotations

import math
from contextlib import closing

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command, confirmed, say, say_json, stdin_is_terminal
from rollcall.database.open_database import open_database
from rollcall.queues.sql_queue import SqlQueue

DAY_S = 86400.0


@click.command(cls=Command)
@click.option(
    "--older-than",
    "days",
    type=click.FloatRange(min=0, max=36500),
    required=True,
    metavar="DAYS",
    help="Delete work that ended more than DAYS days ago.",
)
@click.option("--dead", is_flag=True, help="Delete dead letters (videos that were given up), too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def purge(days: float, dead: bool, yes: bool, as_json: bool) -> None:
    """Delete the records of finished videos, and of events that could not be read.

    The trigger itself deletes these records after 30 days. Videos and results stay. If you delete a
    dead letter but not its video, the reconciler queues the video again.
    """
    if math.isnan(days):  # NaN is in every range
        raise click.UsageError("--older-than has to be a number of days")
    what = "finished work and dead letters" if dead else "finished work"
    if not yes:
        if not stdin_is_terminal():
            raise click.UsageError(
                "purge asks before it deletes, but there is no terminal to ask; to delete without a"
                " question, add --yes"
            )
        if not confirmed(f"Delete {what} older than {days:g} days?"):
            say("nothing was deleted", err=True)
            return
    keep_s = days * DAY_S
    with closing(open_database(settings(offline=True), must_exist=True)) as database:
        queue = SqlQueue(database)
        done = queue.prune(keep_s)
        letters = queue.prune(keep_s, "dead") if dead else 0
    if as_json:
        say_json({"done": done, "dead": letters})
    else:
        say(f"deleted {done} finished and {letters} dead")
