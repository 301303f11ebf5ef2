"""What the worker did, counted since its folder was made, and kept in a file beside the results."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rollcall.core.errors import ResultsUnavailable
from rollcall.worker.result_files import STATUS_FILE

log = logging.getLogger(__name__)

COUNTED = ("events", "ignored", "invoked", "retried", "written", "failed", "outdated", "dead")
"""events: videos that messages of the input queue told of, once their work was done; ignored: such
messages that tell of none; invoked: calls with an answer; retried: calls without one; written:
results that are on disk; failed: those among them that tell of a failure; outdated: results that
were older than the one on disk, or only told that the video is gone; dead: dead letters."""


class Counters:
    """Safe for threads. A count that is changed is in the file at once, so that it survives a
    SIGKILL; what was being counted in that moment may be missing."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATUS_FILE
        self._lock = threading.Lock()
        self._running = 0
        self._counts: dict[str, Any] = {
            **dict.fromkeys(COUNTED, 0),
            "max_at_once": 0,
            "buckets_empty_at_first": None,
            **_counted_before(folder),
        }
        self._write()

    def known(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._counts)

    def add(self, **amounts: int) -> None:
        with self._lock:
            for name, amount in amounts.items():
                self._counts[name] += amount
            self._write()

    def note(self, name: str, value: bool) -> None:
        """A fact that is not counted."""
        with self._lock:
            self._counts[name] = value
            self._write()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around a call: how many run at once."""
        with self._lock:
            self._running += 1
            self._counts["max_at_once"] = max(self._counts["max_at_once"], self._running)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def _write(self) -> None:
        """Atomic. A full disk does not stop the work that is counted."""
        part = self._path.with_suffix(".part")
        try:
            part.write_text(json.dumps(self._counts, indent=1))
            os.replace(part, self._path)
        except OSError as error:
            log.error("counts are not kept: %s", error)


def _counted_before(folder: Path) -> Mapping[str, Any]:
    """Counts that cannot be read do not stop the worker."""
    try:
        return read_status(folder)
    except ResultsUnavailable as error:
        log.error("counting begins at zero: %s", error)
        return {}


def read_status(folder: Path) -> Mapping[str, Any]:
    """Empty where no worker has counted yet. Raises ResultsUnavailable."""
    path = folder / STATUS_FILE
    try:
        found = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise ResultsUnavailable(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ResultsUnavailable(f"{str(path)!r} is not the worker's; move it away")
    return found
