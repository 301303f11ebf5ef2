"""Shows how far a long command is, with the rate and the time left.

On a terminal this is a bar on stderr, which goes away at the end. Otherwise it is a line on stderr
every few seconds. Nothing is shown for work that is done within a second, and nothing is written to
stdout, because scripts may parse it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

from rollcall.cli.terminal import keep_below, no_longer_below, progress_console, say
from rollcall.core.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

Item = TypeVar("Item")

SHOWN_AFTER_S = 1.0
LINE_EVERY_S = 5.0

MAX_EXTRA_CHARS = 40
"""Longest text behind the numbers."""

BYTES = "bytes"
"""The unit of sizes, which are shown in kB, MB and so on."""


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
    return _Bar(what, total, unit) if progress_console() else _Lines(what, total, unit)


def tracked(items: Iterable[Item], what: str, total: int, unit: str) -> Iterator[Item]:
    """Yield the items, and show how many are done."""
    with progress(what, total, unit) as shown:
        for item in items:
            yield item
            shown.advance()


class _Lines:
    """Lines for a log file or a pipe."""

    def __init__(
        self,
        what: str,
        total: float | None,
        unit: str,
        clock: Callable[[], float] = time.monotonic,
        show: Callable[[str], None] = lambda line: say(line, err=True),
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._clock, self._show = clock, show
        self._lock = threading.Lock()
        self._started_s = self._said_s = clock()
        self._done = 0.0
        self._extra = ""
        self._said = False

    def __enter__(self) -> _Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._said and error is None:
            elapsed_s = self._clock() - self._started_s
            self._show(f"{self._what}: {self._amount()} in {duration_text(elapsed_s)}")

    def advance(self, amount: float = 1) -> None:
        with self._lock:
            self._done += amount
            now_s = self._clock()
            if now_s - self._said_s >= LINE_EVERY_S:
                self._said_s, self._said = now_s, True
                self._show(self._line(now_s - self._started_s))

    def expect(self, total: float) -> None:
        self._total = total

    def mention(self, text: str) -> None:
        self._extra = _short(text)

    def _line(self, elapsed_s: float) -> str:
        rate = self._done / elapsed_s
        facts = [self._amount(), rate_text(rate, self._unit)]
        if self._total is not None and rate > 0:
            left_s = max(0.0, self._total - self._done) / rate
            facts.append(f"{duration_text(left_s)} left")
        return f"{self._what}: {', '.join(filter(None, [*facts, self._extra]))}"

    def _amount(self) -> str:
        return amount_text(self._done, self._total, self._unit)


class _Bar:
    """A bar on a terminal. Lines that a command prints meanwhile appear above it."""

    def __init__(self, what: str, total: float | None, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._lock = threading.RLock()
        self._done = 0.0
        self._extra = ""
        self._shown: tuple[RichProgress, TaskID] | None = None
        self._closed = False
        self._timer = threading.Timer(SHOWN_AFTER_S, self._open)
        self._timer.daemon = True

    def __enter__(self) -> _Bar:
        keep_below(self)
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._closed = True
            self.hide()
        no_longer_below(self)

    def hide(self) -> None:
        """Take the bar away, so that a line can be printed in its place."""
        with self._lock:
            if self._shown:
                self._shown[0].stop()

    def show(self) -> None:
        """Draw the bar again."""
        with self._lock:
            if self._shown and not self._closed:
                self._shown[0].start()

    def advance(self, amount: float = 1) -> None:
        with self._lock:
            self._done += amount
            self._update()

    def expect(self, total: float) -> None:
        with self._lock:
            self._total = total
            self._update()

    def mention(self, text: str) -> None:
        with self._lock:
            self._extra = _short(text)
            self._update()

    def _update(self) -> None:
        if self._shown:
            bar, task = self._shown
            amount = amount_text(self._done, self._total, self._unit)
            rate = rate_text(bar.tasks[0].speed or 0, self._unit)
            bar.update(
                task,
                completed=self._done,
                total=self._total,
                amount=amount,
                rate=rate,
                extra=self._extra,
            )

    def _open(self) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        with self._lock:
            if self._closed:
                return
            texts = [
                TextColumn(f"{{task.fields[{name}]}}", markup=False)
                for name in ("amount", "rate", "extra")
            ]
            bar = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                *texts[:2],
                TimeRemainingColumn(compact=True),
                texts[2],
                console=progress_console(),
                transient=True,
                # Otherwise rich would write what belongs to stdout to the console, which is stderr.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            task = bar.add_task(self._what, total=self._total, amount="", rate="", extra="")
            self._shown = (bar, task)
            self._update()
            bar.start()


def _short(text: str) -> str:
    """Escape a text, which may be the name of a file, and cut it to fit beside the numbers."""
    shown = printable(text)
    return shown if len(shown) <= MAX_EXTRA_CHARS else shown[: MAX_EXTRA_CHARS - 1] + "…"


def amount_text(done: float, total: float | None, unit: str) -> str:
    """Return a number of items, for example "3 of 10 videos"."""
    if unit == BYTES:
        return size_text(done) + (f" of {size_text(total)}" if total is not None else "")
    return f"{done:.0f}" + (f" of {total:.0f}" if total is not None else "") + f" {unit}"


def rate_text(rate: float, unit: str) -> str:
    """Return a rate per second, or per minute if it is small; empty if it is 0."""
    if rate <= 0:
        return ""
    if unit == BYTES:
        return f"{size_text(rate)}/s"
    return f"{rate:.3g}/s" if rate >= 1 else f"{rate * 60:.2g}/min"


def size_text(size_bytes: float) -> str:
    """Return a size in the largest unit that gives at least 1."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.3g} {unit}" if unit != "B" else f"{size_bytes:.0f} B"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def duration_text(seconds: float) -> str:
    """Return a duration in the units that matter, for example "2 min 5 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
