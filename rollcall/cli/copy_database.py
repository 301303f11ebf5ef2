"""`rollcall copy-database`: move from SQLite to PostgreSQL, or back."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack, closing

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.progress import progress
from rollcall.cli.terminal import Command, say, say_json
from rollcall.core.settings import parse_settings
from rollcall.database.copying import copy_tables
from rollcall.database.file_lock import own_file
from rollcall.database.open_database import open_database


@click.command(cls=Command, name="copy-database")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@command_errors
def copy_database(source: str, target: str, as_json: bool) -> None:
    """Copy all rows from the database FROM to the empty database TO.

    FROM and TO are URLs as in DATABASE_URL. Write `-` for the value of DATABASE_URL, so that its
    password is not visible among the arguments. Stop the triggers first. FROM is not changed.
    """
    chosen = settings(offline=True)
    urls = [_url(text, chosen.database_url) for text in (source, target)]
    with ExitStack() as opened:
        old, new = (
            opened.enter_context(
                closing(
                    open_database(
                        dataclasses.replace(chosen, database_url=url), must_exist=number == 0
                    )
                )
            )
            for number, url in enumerate(urls)
        )
        for database in (old, new):
            if database.path:
                opened.enter_context(own_file(database.path))
        with progress("copying", unit="rows") as shown:
            counts = copy_tables(old, new, shown.advance)
        name = new.name
    if as_json:
        say_json({"rows": counts})
    else:
        say(f"copied {sum(counts.values())} rows to {name}; set DATABASE_URL to it")


def _url(text: str, default: str) -> str:
    return default if text == "-" else parse_settings({"DATABASE_URL": text}).database_url
