"""Finds videos without result, whatever became of their events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from rollcall.core.errors import PermanentError, StoreMisconfigured, TransientError
from rollcall.core.keys import is_video_key, result_key
from rollcall.core.protocols import ObjectStore
from rollcall.core.types import ObjectInfo
from rollcall.queues.inbox import Inbox

log = logging.getLogger(__name__)


class _Halted(Exception):
    """The trigger stops: the pass ends before the next object."""


SHOWN = 3
"""Names of skipped objects in a log line."""


class Reconciler:
    """Compares the input bucket with the output bucket."""

    def __init__(
        self,
        inbox: Inbox,
        store: ObjectStore,
        input_bucket: str,
        output_bucket: str,
        on_missing: Callable[[], None],
        on_skipped: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._inbox = inbox
        self._store = store
        self._input = input_bucket
        self._output = output_bucket
        self._on_missing = on_missing
        self._on_skipped = on_skipped
        self._halted = False
        self._skipped: tuple[int, tuple[str, ...]] = (0, ())
        """Number and first keys of the objects that were not videos at the last scan."""
        self._sources: dict[str, tuple[str, str]] = {}
        """Result key -> (etag of the result, etag of its video); spares a HEAD each pass."""

    def halt(self) -> None:
        """Ends a pass before its next object. Safe in a signal handler."""
        self._halted = True

    def reconcile(self) -> None:
        """One pass, or the part of it until `halt`."""
        with suppress(_Halted):
            self._reconcile()

    def _reconcile(self) -> None:
        """Queues each video whose result is missing or is from another etag, and says so for each:
        when the store goes away in between, those before it are queued all the same. A dead letter
        whose result is there is one no longer.

        The order matters: what is neither waiting nor running *before* the results are listed has
        its result listed, so nothing is called twice because it ended in between.
        """
        videos = self._videos()
        unsettled, dead = self._inbox.unsettled(self._input), self._inbox.dead(self._input)
        results = {info.key: info.etag for info in self._listed(self._output)}
        self._forget(results)
        for info in videos:
            self._check()
            key = _result_key(info)
            if key is None or info.key in unsettled:
                continue
            done = key in results and self._is_from(key, results[key], info.etag)
            if done is False:
                self._add(info)
            elif done and info.key in dead and self._inbox.result_found(info):
                log.info("%r was given up, but has its result", info.key)

    def _videos(self) -> list[ObjectInfo]:
        """The videos of the input bucket. Other objects are counted, and logged if they change;
        a key that ends in `/` is only the placeholder of a folder."""
        videos, count, first = [], 0, []
        for info in self._listed(self._input):
            if is_video_key(info.key):
                videos.append(info)
            elif not info.key.endswith("/"):
                count += 1
                first += [info.key] if count <= SHOWN else []
        skipped = (count, tuple(first))
        if count and skipped != self._skipped:
            names = ", ".join(map(repr, first)) + (", ..." if count > SHOWN else "")
            log.info("skipped in %s: %d without a video extension (%s)", self._input, count, names)
        self._skipped = skipped
        self._on_skipped(count)
        return videos

    def _listed(self, bucket: str) -> Iterator[ObjectInfo]:
        for info in self._store.list_objects(bucket):
            self._check()
            yield info

    def _check(self) -> None:
        if self._halted:
            raise _Halted

    def _add(self, info: ObjectInfo) -> None:
        if self._is_current(info) and self._inbox.add_missing(info):
            log.info("%r has no result", info.key)
            self._on_missing()

    def _is_from(self, key: str, etag: str, video_etag: str) -> bool | None:
        """Only a yes is remembered: two videos may have results of the same bytes. None for a
        result that nobody lets us read: it proves nothing, and its video would be recognised again
        at every pass."""
        if self._sources.get(key) == (etag, video_etag):
            return True
        try:
            source = self._store.metadata(self._output, key).get("source-etag", "")
        except PermanentError:
            return False
        except StoreMisconfigured as error:
            log.warning("cannot tell which video %r belongs to: %s", key, error)
            return None
        self._sources[key] = (etag, source)
        return source == video_etag

    def _is_current(self, info: ObjectInfo) -> bool:
        """Whether the video is still the one that was listed. One that may not be looked at, one
        of another owner for example, is for the function to say so, and no other waits for it."""
        try:
            return self._store.head(info.bucket, info.key).etag == info.etag
        except PermanentError:
            return False
        except StoreMisconfigured as error:
            log.warning("%r may not be looked at: %s", info.key, error)
            return True

    def _forget(self, results: dict[str, str]) -> None:
        for key in self._sources.keys() - results.keys():
            del self._sources[key]


def _result_key(info: ObjectInfo) -> str | None:
    """None for a video that can have no result; the function says so to whoever sent its event."""
    try:
        return result_key(info.key)
    except PermanentError as error:
        log.warning("%r can have no result: %s", info.key, error)
        return None


class Schedule:
    """Runs a job at once, then every `every_s` seconds, until stopped."""

    def __init__(self, name: str, every_s: float, job: Callable[[], None]) -> None:
        self._every_s = every_s
        self._job = job
        self._stopped = threading.Event()
        self._halted = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def halt(self) -> None:
        """Begins no further run. Safe in a signal handler."""
        self._halted = True

    def stop(self) -> None:
        self.halt()
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._halted:
            try:
                self._job()
            except TransientError as error:
                log.warning("%s will be tried again: %s", self._thread.name, error)
            except Exception:
                log.exception("%s failed unexpectedly", self._thread.name)
            if self._stopped.wait(self._every_s):
                return
