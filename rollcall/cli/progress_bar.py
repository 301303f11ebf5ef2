"""Shows progress as a bar in the last line of a terminal."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rollcall.cli.amounts import amount_text, rate_text, short_text
from rollcall.cli.terminal import keep_below, no_longer_below, progress_console

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

SHOWN_AFTER_S = 1.0


class ProgressBar:
    """The bar. What a command prints or logs meanwhile appears above it."""

    def __init__(self, what: str, total: float | None, unit: str) -> None:
        """An empty unit stands for work that cannot be counted. It shows a clock, not a bar."""
        self._what, self._total, self._unit = what, total, unit
        self._lock = threading.RLock()
        self._done = 0.0
        self._extra = ""
        self._shown: tuple[RichProgress, TaskID] | None = None
        self._closed = False
        self._timer = threading.Timer(SHOWN_AFTER_S, self._open)
        self._timer.daemon = True

    def __enter__(self) -> ProgressBar:
        keep_below(self)
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
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
            self._extra = short_text(text)
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
        from rich.progress import Progress as RichProgress

        columns = self._columns()
        with self._lock:
            if self._closed:
                return
            bar = RichProgress(
                *columns,
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

    def _columns(self) -> Sequence[ProgressColumn]:
        from rich.progress import (
            BarColumn,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        def text(field: str) -> TextColumn:
            return TextColumn(f"{{task.{field}}}", markup=False)

        # The spinner moves while one large item is worked on.
        begin = (SpinnerColumn(), text("description"))
        if not self._unit:
            return (*begin, TimeElapsedColumn(), text("fields[extra]"))
        left = TimeRemainingColumn(compact=True)
        numbers = (text("fields[amount]"), text("fields[rate]"), left, text("fields[extra]"))
        return (*begin, BarColumn(), *numbers)
