"""The only module that prints to the terminal; a test makes sure of that.

Names, keys and messages may come from others, so control characters in them are escaped.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import click

from rollcall.core.printable import json_text, printable, printable_block

if TYPE_CHECKING:
    from rich.console import Console

TABLE_WIDTH = 110
"""Width in characters when the output is not a terminal but, for example, a log file."""

MARKS = {True: ("✓", "green"), False: ("✗", "red")}


@contextmanager
def _printable_errors() -> Iterator[None]:
    """Escape messages of click. They repeat arguments, which may be file names from the shell."""
    try:
        yield
    except click.ClickException as error:
        # Type checkers do not allow an assignment to `message`, which is declared as final.
        vars(error)["message"] = printable(error.message)
        raise


class Command(click.Command):
    """A click command whose usage errors are safe to print."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _printable_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _printable_errors():
            return super().invoke(ctx)


class Group(Command, click.Group):
    """A click group whose usage errors are safe to print, as are those of its commands."""

    command_class = Command
    group_class = type


class Bar(Protocol):
    """A progress bar in the last line of the terminal."""

    def hide(self) -> None: ...

    def show(self) -> None: ...


_bars: list[Bar] = []


def keep_below(bar: Bar) -> None:
    """Print all further lines above this bar."""
    _bars.append(bar)


def no_longer_below(bar: Bar) -> None:
    _bars.remove(bar)


def progress_console() -> Console | None:
    """The console for progress bars, which is stderr; None if bars cannot be drawn there."""
    if not sys.stderr.isatty():
        return None  # checked first, because rich is slow to load
    try:
        from rich.console import Console
    except ImportError:  # the image of the trigger does not contain rich
        return None
    console = Console(stderr=True)
    return None if console.is_dumb_terminal else console


@contextmanager
def _above_bars() -> Iterator[None]:
    bars = tuple(_bars)
    for bar in bars:
        bar.hide()
    try:
        yield
    finally:
        for bar in bars:
            bar.show()


class LogLines(logging.StreamHandler[TextIO]):
    """Writes log lines to stderr, above the bars."""

    def emit(self, record: logging.LogRecord) -> None:
        with _above_bars():
            super().emit(record)


def _echo(text: str, *, err: bool = False) -> None:
    with _above_bars():
        click.echo(text, err=err)


def say(text: str, *, err: bool = False) -> None:
    """Print one line. A line break inside the text is printed as an escape sequence."""
    _echo(printable(text), err=err)


def say_block(text: str, *, err: bool = False) -> None:
    """Print a text of several lines, with all lines but the first indented."""
    _echo(printable_block(text), err=err)


def say_json(document: Any) -> None:
    """Print a JSON document on one line."""
    _echo(json_text(document))


def say_fact(text: str, right: bool) -> None:
    """Print one line after a green or red mark."""
    mark, colour = MARKS[right]
    _echo(f"{click.style(mark, colour)} {printable(text)}")


def say_table(
    columns: Sequence[str],
    rows: Iterable[tuple[bool, Sequence[str]]],
    words: tuple[str, str] = ("right", "WRONG"),
) -> None:
    """Print a table. Its first column is the first word in green or the second one in red."""
    # Imported here, because the image of the trigger does not contain rich.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("", *columns):
        table.add_column(column, overflow="fold")
    for right, cells in rows:
        mark = Text(words[0], "green") if right else Text(words[1], "red")
        table.add_row(mark, *(Text(printable(cell)) for cell in cells))
    console = Console()
    if not console.is_terminal:
        console = Console(width=TABLE_WIDTH)
    with _above_bars():
        console.print(table)


def stdin_is_terminal() -> bool:
    """Return whether standard input is a terminal, so that the user can answer a question."""
    return sys.stdin.isatty()


def confirmed(question: str) -> bool:
    """Ask a yes-or-no question, with no as default. Ctrl-C and Ctrl-D raise click.Abort."""
    with _above_bars():
        return click.confirm(printable(question), err=True)


def new_secret(question: str) -> str:
    """Ask twice for a new password, which is not shown. Ctrl-C and Ctrl-D raise click.Abort."""
    with _above_bars():
        answer: str = click.prompt(
            printable(question), hide_input=True, confirmation_prompt="The same again", err=True
        )
    return answer
