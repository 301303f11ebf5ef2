"""Shows how far a long command is, with the rate and the time left.

On a terminal this is a bar on stderr, which goes away at the end. Otherwise it is a line on stderr
every few seconds. Nothing is shown for work that is done within a second, and nothing is written to
stdout, because scripts may parse it. Work that cannot be counted shows the time that it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from rollcall.cli.progress_bar import ProgressBar
from rollcall.cli.progress_lines import ProgressLines, WaitingLines
from rollcall.cli.terminal import progress_console

Item = TypeVar("Item")


class Progress(Protocol):
    """The progress of a piece of work. Safe to share between threads."""

    def advance(self, amount: float = 1) -> None:
        """Count some more items as done."""
        ...

    def expect(self, total: float) -> None:
        """Set the number of items, if it was not known or has changed."""
        ...

    def mention(self, text: str) -> None:
        """Show a few words behind the numbers, for example what is being done now."""
        ...


def progress(
    what: str, total: float | None = None, unit: str = "items"
) -> AbstractContextManager[Progress]:
    """Show the progress of the block.

    `what` is a word such as "uploading", `total` the number of items if it is known, and `unit`
    the plural of an item's noun, or BYTES.
    """
    shown = ProgressBar if progress_console() else ProgressLines
    return shown(what, total, unit)


def waiting(what: str) -> AbstractContextManager[object]:
    """Show how long the block takes, which does something that cannot be counted."""
    return ProgressBar(what, None, "") if progress_console() else WaitingLines(what)


def tracked(items: Iterable[Item], what: str, total: int, unit: str) -> Iterator[Item]:
    """Yield the items, and show how many are done."""
    with progress(what, total, unit) as shown:
        for item in items:
            yield item
            shown.advance()
