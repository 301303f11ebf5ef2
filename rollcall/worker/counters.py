"""The worker's counts since its results folder was created, kept in a file beside the results."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rollcall.atomic_files import replace_file
from rollcall.core.errors import ResultsUnavailable
from rollcall.worker.result_files import STATUS_FILE, part_name

log = logging.getLogger(__name__)

COUNTED = ("events", "ignored", "invoked", "retried", "written", "failed", "outdated", "dead")
"""Names of the counts:

events: videos in finished messages of the input queue
ignored: messages of the input queue without a video, for example test events
invoked: calls of the Lambda that had a final answer (a result or a permanent error)
retried: calls of the Lambda that failed temporarily, for example with 503 or no answer
written: result files written
failed: result files written that contain an error
outdated: results that were not written, because the folder has a later one
dead: messages that became dead letters

A call that the Lambda refuses because it is busy counts neither as invoked nor as retried.
"""

MOST_AT_ONCE = "most_at_once"
"""The largest number of calls of the Lambda that were in flight at the same time."""

EMPTY_AT_FIRST = "buckets_empty_at_first"
"""Whether the input and output buckets were empty when a worker with this folder first listed them;
None if no worker could list them yet."""


class Counters:
    """Counts and facts that survive SIGKILL, because `add` and `note` write them to the file.

    A kill during a write loses only the change that was being written. A new MOST_AT_ONCE is
    written with the next `add`. Safe for threads.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATUS_FILE
        self._lock = threading.Lock()
        self._running_calls = 0
        self._counts: dict[str, Any] = {
            **dict.fromkeys(COUNTED, 0),
            MOST_AT_ONCE: 0,
            EMPTY_AT_FIRST: None,
            **_read_earlier_counts(folder),
        }
        self._write()

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of all counts and facts."""
        with self._lock:
            return dict(self._counts)

    def add(self, **amounts: int) -> None:
        with self._lock:
            for name, amount in amounts.items():
                self._counts[name] += amount
            self._write()

    def note(self, name: str, value: bool) -> None:
        """Record a fact that is not a count."""
        with self._lock:
            self._counts[name] = value
            self._write()

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Count a call of the Lambda as in flight until the block ends, for MOST_AT_ONCE."""
        with self._lock:
            self._running_calls += 1
            self._counts[MOST_AT_ONCE] = max(self._counts[MOST_AT_ONCE], self._running_calls)
        try:
            yield
        finally:
            with self._lock:
                self._running_calls -= 1

    def _write(self) -> None:
        """Write all counts and facts to the file, atomically."""
        body = json.dumps(self._counts, indent=1).encode()
        try:
            replace_file(self._path, body, temporary_name=part_name(), mode=0o644, durable=False)
        except OSError as error:
            # The results matter more than the counts, so a full disk does not stop the work.
            log.error("cannot write the worker's counts: %s", error)


def _read_earlier_counts(folder: Path) -> Mapping[str, Any]:
    """Return the counts in the folder's file, or none if it cannot be read."""
    try:
        return read_status(folder)
    except ResultsUnavailable as error:
        log.error("the counts start at zero: %s", error)
        return {}


def read_status(folder: Path) -> Mapping[str, Any]:
    """Return the counts and facts in the folder's file; empty if no worker has written one.

    Raises ResultsUnavailable if the file cannot be read, or was not written by a worker.
    """
    path = folder / STATUS_FILE
    try:
        status = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise ResultsUnavailable(f"{str(path)!r} cannot be read: {error}") from error
    if not isinstance(status, dict):
        raise ResultsUnavailable(f"{str(path)!r} was not written by a worker; move it away")
    return status
