"""Everything that a command prints goes through here, so that no name, key or message of others
reaches the terminal as a control character. A test keeps other modules from printing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from rollcall.core.printable import json_text, printable, printable_block

TABLE_WIDTH = 110
"""Where the output is not a terminal: wide enough for a log."""

MARKS = {True: ("✓", "green"), False: ("✗", "red")}


@contextmanager
def _printable_errors() -> Iterator[None]:
    """click repeats arguments in its messages. A pattern like `*.mp4` brings names of others."""
    try:
        yield
    except click.ClickException as error:
        vars(error)["message"] = printable(error.message)  # final for type checkers
        raise


class Command(click.Command):
    """A command whose usage errors are safe to print."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _printable_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _printable_errors():
            return super().invoke(ctx)


class Group(Command, click.Group):
    """A group of such commands."""

    command_class = Command
    group_class = type


def say(text: str, *, err: bool = False) -> None:
    """Prints one line. A line break inside the text is shown as an escape."""
    click.echo(printable(text), err=err)


def say_block(text: str, *, err: bool = False) -> None:
    """Prints text of several lines; those after the first are indented."""
    click.echo(printable_block(text), err=err)


def say_json(document: Any) -> None:
    """Prints one JSON document on one line."""
    click.echo(json_text(document))


def say_fact(text: str, right: bool) -> None:
    """Prints one line with a green or red mark before it."""
    mark, colour = MARKS[right]
    click.echo(f"{click.style(mark, colour)} {printable(text)}")


def say_table(columns: Sequence[str], rows: Iterable[tuple[bool, Sequence[str]]]) -> None:
    """Prints rows of cells, each after `right` in green or `WRONG` in red."""
    # Here, because the trigger's image has no tables and no rich.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("", *columns):
        table.add_column(column, overflow="fold")
    for right, cells in rows:
        mark = Text("right", "green") if right else Text("WRONG", "red")
        table.add_row(mark, *(Text(printable(cell)) for cell in cells))
    own = Console()
    console = own if own.is_terminal else Console(width=TABLE_WIDTH)
    console.print(table)


def can_ask() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin.isatty()


def confirmed(question: str) -> bool:
    """Asks for yes or no; no is the default. Ctrl-C and Ctrl-D raise click.Abort."""
    return click.confirm(printable(question), err=True)
