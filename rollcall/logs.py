"""The log format of all programs, and a rate limit for lines that outsiders can cause."""

from __future__ import annotations

import copy
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType

from rollcall.core.printable import printable, printable_block

log = logging.getLogger(__name__)


def set_up_logs() -> None:
    """Set the log level to INFO for Rollcall and to WARNING for libraries, and escape output.

    Each program calls this once. Control characters are escaped in all handlers, including those
    that a host such as gunicorn or Lambda has already installed.
    """
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form)
    logging.getLogger("rollcall").setLevel(logging.INFO)
    for handler in _handlers():
        if not isinstance(handler.formatter, PrintableFormatter):
            handler.setFormatter(PrintableFormatter(handler.formatter))
    sys.excepthook = _log_uncaught


class PrintableFormatter(logging.Formatter):
    """Formats with another formatter, and escapes control characters in its output.

    A message is always one line. The lines of a traceback are indented, so that no text in a
    traceback can look like another log line.
    """

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)
        shown.msg, shown.args = printable(record.getMessage()), None
        shown.exc_text = None  # may hold an unescaped traceback that another handler cached
        text = self._inner.format(shown)
        body = text.rstrip("\n")  # Lambda's formatter adds a line break at the end
        return printable_block(body) + text[len(body) :]


def _handlers() -> Iterator[logging.Handler]:
    for logger in (logging.root, *list(logging.root.manager.loggerDict.values())):
        if isinstance(logger, logging.Logger):
            yield from logger.handlers


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Log an uncaught error, because Python would print the message without escaping."""
    if issubclass(kind, Exception):
        log.critical("unexpected error", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


class LogLimit:
    """A thread-safe rate limit for one kind of log line: `lines` lines in `per_s` seconds."""

    def __init__(
        self, lines: int = 5, per_s: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lines = lines
        self._per_s = per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._began_s = clock()
        self._count = 0

    def log(self, to: Callable[..., None], message: str, *args: object) -> None:
        """Log `message % args` with the function `to`, unless the limit is reached.

        The first line of the next period says how many lines were not logged.
        """
        with self._lock:
            left_out = 0
            if self._clock() - self._began_s >= self._per_s:
                left_out = max(0, self._count - self._lines)
                self._began_s, self._count = self._clock(), 0
            self._count += 1
            if self._count > self._lines:
                return
        to(message + (f" ({left_out} more like this were not logged)" if left_out else ""), *args)
