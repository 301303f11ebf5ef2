"""One form of log lines for every program, and a limit for lines that outsiders cause."""

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
    """Libraries log warnings and worse; Rollcall also logs what it does.

    Called once by each program. Hosts such as gunicorn and Lambda have handlers of their own by
    then; control characters are escaped in all of them.
    """
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form)
    logging.getLogger("rollcall").setLevel(logging.INFO)
    for handler in _handlers():
        if not isinstance(handler.formatter, PrintableFormatter):
            handler.setFormatter(PrintableFormatter(handler.formatter))
    sys.excepthook = _log_uncaught


class PrintableFormatter(logging.Formatter):
    """Lines of another formatter, with control characters as escapes.

    A message is always one line. The lines of a traceback are indented, so that no text in it can
    pass for another log line.
    """

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)
        shown.msg, shown.args = printable(record.getMessage()), None
        shown.exc_text = None  # another handler may have left it there, unescaped
        text = self._inner.format(shown)
        body = text.rstrip("\n")  # Lambda's formatter ends each line itself
        return printable_block(body) + text[len(body) :]


def _handlers() -> Iterator[logging.Handler]:
    for logger in (logging.root, *list(logging.root.manager.loggerDict.values())):
        if isinstance(logger, logging.Logger):
            yield from logger.handlers


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Python would print the message of an uncaught error unescaped."""
    if issubclass(kind, Exception):
        log.critical("unexpected error", exc_info=(kind, error, trace))
    else:
        sys.__excepthook__(kind, error, trace)


class LogLimit:
    """Rate limit for one kind of log line. Safe for threads."""

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
        """Logs `message % args` with `to`, unless the limit is reached.

        The first line after a silence says how many lines were left out.
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
