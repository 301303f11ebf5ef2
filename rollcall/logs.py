"""The log formats of all programs, and a rate limit for lines that outsiders can cause."""

from __future__ import annotations

import copy
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import TracebackType

from rollcall.core.log_fields import FIELDS, current_fields
from rollcall.core.printable import printable, printable_block

log = logging.getLogger(__name__)


def set_up_logs(log_format: str = "text", handler: logging.Handler | None = None) -> None:
    """Set the log level to INFO for Rollcall and to WARNING for libraries, and escape output.

    `log_format` is the setting LOG_FORMAT. Each program calls this when it starts, and may call it
    again with another format. All handlers are changed, including those that a host such as
    gunicorn or Lambda has already installed. If there is none yet, `handler` is installed, or one
    that writes to stderr.
    """
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handlers = [handler] if handler else None
    logging.basicConfig(level=logging.WARNING, format=form, handlers=handlers)
    logging.getLogger("rollcall").setLevel(logging.INFO)
    for handler in _handlers():
        before = handler.formatter
        if isinstance(before, JsonFormatter | PrintableFormatter):
            before = before.inner
        if log_format == "json":
            # The formatter of Lambda's own handler ends each line, because the handler does not.
            end = "" if isinstance(handler, logging.StreamHandler) else "\n"
            handler.setFormatter(JsonFormatter(before, end))
        else:
            handler.setFormatter(PrintableFormatter(before))
    sys.excepthook = _log_uncaught


class PrintableFormatter(logging.Formatter):
    """Formats with another formatter, and escapes control characters in its output.

    A message is always one line. If it is about a video, it ends with the work id. The lines of a
    traceback are indented, so that no text in a traceback can look like another log line.
    """

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self.inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)
        message, work = record.getMessage(), current_fields().get("work", "")
        shown.msg = printable(message if work in message else f"{message}, work {work}")
        shown.args = None
        shown.exc_text = None  # may hold an unescaped traceback that another handler cached
        text = self.inner.format(shown)
        body = text.rstrip("\n")  # Lambda's formatter adds a line break at the end
        return printable_block(body) + text[len(body) :]


class JsonFormatter(logging.Formatter):
    """Formats each line as one JSON object, for programs that collect logs.

    Its fields are time (RFC 3339), level, logger, message, those of `core.log_fields` that are
    known, and `exception` with the traceback. Message and traceback are escaped as in the text
    format; the key is exact.
    """

    def __init__(self, inner: logging.Formatter | None = None, end: str = "") -> None:
        super().__init__()
        self.inner = inner
        """The formatter that this one replaces, in case the format is changed back."""
        self._end = end

    def format(self, record: logging.LogRecord) -> str:
        time_of_day = datetime.fromtimestamp(record.created, UTC)
        fields = current_fields()
        document = {
            "time": time_of_day.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": printable(record.getMessage()),
            **{name: fields[name] for name in FIELDS if name in fields},
        }
        if record.exc_info:
            document["exception"] = printable_block(self.formatException(record.exc_info))
        # ASCII alone, so that no collector has to guess an encoding.
        return json.dumps(document) + self._end


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
