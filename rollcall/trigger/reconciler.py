"""Finds videos that have no result, for example because the store dropped a notification."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from rollcall.core.errors import PermanentError, StoreMisconfigured, TransientError
from rollcall.core.keys import is_video_key, result_key
from rollcall.core.protocols import ObjectStore, WorkQueue
from rollcall.core.types import ObjectInfo

log = logging.getLogger(__name__)

SHOWN_KEYS = 3
"""Keys of skipped objects in a log line."""


class _Halted(Exception):
    """Ends a scan before its next object, because the trigger stops."""


class Reconciler:
    """Compares the input bucket with the output bucket, and queues videos without a result."""

    def __init__(
        self,
        queue: WorkQueue,
        store: ObjectStore,
        input_bucket: str,
        output_bucket: str,
        on_missing: Callable[[], None],
        on_skipped: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._input = input_bucket
        self._output = output_bucket
        self._on_missing = on_missing
        self._on_skipped = on_skipped
        self._halted = False
        self._skipped: tuple[int, tuple[str, ...]] = (0, ())
        """Number and first keys of the objects that were not videos at the last scan."""
        self._sources: dict[str, tuple[str, str]] = {}
        """Result key -> (etag of the result, etag of its video). This saves a HEAD request for each
        result that has not changed since the last scan."""

    def halt(self) -> None:
        """End a running scan before its next object. Safe in a signal handler."""
        self._halted = True

    def reconcile(self) -> None:
        """Scan both buckets once, until the end or until `halt`.

        Raises TransientError if the store or the queue becomes unavailable. Videos that this scan
        has queued by then stay queued.
        """
        with suppress(_Halted):
            self._scan()

    def _scan(self) -> None:
        """Queue each video whose result is missing, or was made from an earlier upload.

        A dead letter whose result exists after all is marked as done.
        """
        videos = self._list_videos()
        # The order matters. Work that is settled before the results are listed has its result in
        # that list, so a video that is finished during the scan is not queued again.
        unsettled, dead = self._queue.unsettled(self._input), self._queue.dead(self._input)
        results = {info.key: info.etag for info in self._list(self._output)}
        self._drop_old_sources(results)
        for info in videos:
            self._check_halted()
            key = _result_key(info)
            if key is None or info.key in unsettled:
                continue
            done = key in results and self._is_from(key, results[key], info.etag)
            if done is False:
                self._queue_missing(info)
            elif done and info.key in dead and self._queue.result_found(info):
                log.info("%r was a dead letter, but its result exists; it is done now", info.key)

    def _list_videos(self) -> list[ObjectInfo]:
        """The videos of the input bucket. Other objects are counted, and logged if they change."""
        videos, count, first_keys = [], 0, []
        for info in self._list(self._input):
            if is_video_key(info.key):
                videos.append(info)
            elif not info.key.endswith("/"):  # tools create such empty objects to show a folder
                count += 1
                first_keys += [info.key] if count <= SHOWN_KEYS else []
        skipped = (count, tuple(first_keys))
        if count and skipped != self._skipped:
            keys = ", ".join(map(repr, first_keys)) + (", ..." if count > SHOWN_KEYS else "")
            log.info("skipped in %s: %d without a video extension (%s)", self._input, count, keys)
        self._skipped = skipped
        self._on_skipped(count)
        return videos

    def _list(self, bucket: str) -> Iterator[ObjectInfo]:
        for info in self._store.list_objects(bucket):
            self._check_halted()
            yield info

    def _check_halted(self) -> None:
        if self._halted:
            raise _Halted

    def _queue_missing(self, info: ObjectInfo) -> None:
        if self._is_current(info) and self._queue.add_missing(info):
            log.info("queued %r: it has no result", info.key)
            self._on_missing()

    def _is_from(self, key: str, etag: str, video_etag: str) -> bool | None:
        """Whether the result with this key and etag was made from this video.

        None if the store does not let us read the result's metadata.
        """
        # Only a match saves the HEAD request. The metadata of a result may change while its etag
        # does not, because two uploads may have results with the same bytes.
        if self._sources.get(key) == (etag, video_etag):
            return True
        try:
            source = self._store.metadata(self._output, key).get("source-etag", "")
        except PermanentError:
            return False
        except StoreMisconfigured as error:
            # Not False, because then the video would be recognised again at every scan.
            log.warning("cannot tell which video %r belongs to: %s", key, error)
            return None
        self._sources[key] = (etag, source)
        return source == video_etag

    def _is_current(self, info: ObjectInfo) -> bool:
        """Whether the video is still the one that was listed."""
        try:
            return self._store.head(info.bucket, info.key).etag == info.etag
        except PermanentError:
            return False
        except StoreMisconfigured as error:
            # The object may have another owner. The call for it will end as a dead letter with the
            # reason, and the scan goes on with the other videos.
            log.warning("cannot read %r: %s", info.key, error)
            return True

    def _drop_old_sources(self, results: dict[str, str]) -> None:
        for key in self._sources.keys() - results.keys():
            del self._sources[key]


def _result_key(info: ObjectInfo) -> str | None:
    """The key of the video's result; None if the video's key allows none (it may be too long)."""
    try:
        return result_key(info.key)
    except PermanentError as error:
        log.warning("%r cannot have a result: %s", info.key, error)
        return None


class Schedule:
    """A thread that runs a job at once, and then again after each pause of `every_s` seconds."""

    def __init__(self, name: str, every_s: float, job: Callable[[], None]) -> None:
        self._every_s = every_s
        self._job = job
        self._stopped = threading.Event()
        self._halted = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def name(self) -> str:
        return self._thread.name

    def start(self) -> None:
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def halt(self) -> None:
        """Begin no further run. Safe in a signal handler."""
        self._halted = True

    def stop(self) -> None:
        """Halt, and wait for a run in progress."""
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
