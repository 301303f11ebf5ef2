"""Finds videos that have no result, for example because the store dropped a notification."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from rollcall.core.errors import PermanentError, StoreMisconfigured, TransientError
from rollcall.core.keys import is_video_key, result_key
from rollcall.core.log_fields import about
from rollcall.core.protocols import ObjectStore
from rollcall.core.queue_protocols import Listings, ListingScan, WorkQueue, no_notice
from rollcall.core.types import ListedVideo, ObjectInfo, SkippedUpload
from rollcall.core.work import Notice, Work
from rollcall.queues.queue_rules import is_storable

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

SHOWN_KEYS = 3
"""Keys of skipped objects in a log line."""

MAX_SKIPPED = 1000
"""Skipped objects that are stored for the pages."""

REQUESTS_AT_ONCE = 8
"""Requests for single objects that a scan sends at the same time.

One after the other, a million results would take hours, because each request waits for the store.
More than eight would not help: boto3 needs about a millisecond of processor time for a request, so
at a store that answers within 8 ms, eight requests already keep one core busy. They also fit into
botocore's pool of ten connections.
"""

DEAD_PAGE = 1000
"""Keys of dead letters that are compared at a time."""

RECENT = 0.9
"""If another trigger's scan ended less than this part of the pause between scans ago, a scan would
find nothing new. It is less than 1 so that a trigger does not skip a scan because of its own last
one."""


class _Halted(Exception):
    """Ends a scan before its next object, because the trigger stops."""


class Reconciler:
    """Compares the input bucket with the output bucket, and queues videos without a result.

    `on_missing` is called for each video that was queued, by several threads; `on_skipped` with the
    number of objects that are not videos; `on_success` with the Unix time of the last complete
    scan, which another trigger may have done. `write_notice` writes the message about a video that
    is given up because its result is missing again and again. `every_s` is the pause between scans.
    """

    def __init__(
        self,
        queue: WorkQueue,
        listings: Listings,
        store: ObjectStore,
        input_bucket: str,
        output_bucket: str,
        on_missing: Callable[[], None],
        on_skipped: Callable[[int], None] = lambda count: None,
        on_success: Callable[[float], None] = lambda at_s: None,
        *,
        write_notice: Callable[[Work], Notice | None] = no_notice,
        every_s: float = 0.0,
    ) -> None:
        self._queue = queue
        self._listings = listings
        self._store = store
        self._input = input_bucket
        self._output = output_bucket
        self._on_missing = on_missing
        self._on_skipped = on_skipped
        self._on_success = on_success
        self._write_notice = write_notice
        self._every_s = every_s
        self._halted = False
        self._skipped: tuple[int, tuple[str, ...]] = (0, ())
        """Number and first keys of the objects that were not videos at the last scan."""

    def halt(self) -> None:
        """End a running scan before its next object. Safe in a signal handler."""
        self._halted = True

    def reconcile(self) -> None:
        """Scan both buckets once, until the end or until `halt`.

        If several triggers share the database, one of them scans at a time. Raises TransientError
        if the store, the queue or the listings become unavailable. Videos that this scan has queued
        by then stay queued.
        """
        buckets = self._input, self._output
        with suppress(_Halted), self._listings.scan(*buckets, self._check_halted) as scan:
            if scan and not self._was_done(scan):
                self._scan(scan)

    def _was_done(self, scan: ListingScan) -> bool:
        """Whether another trigger has just scanned the buckets."""
        if not self._listings.shared:
            return False
        last_s = scan.last_success_s()
        if last_s:
            self._on_success(last_s)
        return scan.now_s() - last_s < RECENT * self._every_s

    def _scan(self, scan: ListingScan) -> None:
        """Queue each video whose result is missing, or was made from an earlier upload.

        A dead letter whose result exists after all is marked as done.
        """
        skipped: list[SkippedUpload] = []
        scan.store_videos(self._videos(skipped))
        scan.store_skipped(skipped)
        # The order matters. The function writes a result before its work is done. So work that was
        # done before this time has its result in the listing that begins now. Work that is done
        # later may lack its result there, and `add_missing` leaves its video to the next scan.
        results_s = scan.now_s()
        scan.store_results(self._list(self._output))
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, "reconciler") as pool:
            for page in scan.unmatched():
                self._compare(scan, pool, page, results_s)
        self._complete_dead_letters(scan)
        self._on_success(scan.succeed())

    def _videos(self, skipped: list[SkippedUpload]) -> Iterator[ListedVideo]:
        """The videos of the input bucket. The first other objects are added to `skipped`.

        Objects that are not videos are counted, and logged if they change.
        """
        count, first_keys = 0, []
        for info in self._list(self._input):
            reason = ""
            if is_video_key(info.key):
                try:
                    yield ListedVideo(info, result_key(info.key))
                except PermanentError as error:  # the key may be too long
                    reason = str(error)
                    log.warning("%r cannot have a result: %s", info.key, error)
            elif not info.key.endswith("/"):  # tools create such empty objects to show a folder
                count += 1
                first_keys += [info.key] if count <= SHOWN_KEYS else []
                reason = "without a video extension"
            if reason and len(skipped) < MAX_SKIPPED:
                skipped.append(SkippedUpload(info, reason))
        shown = (count, tuple(first_keys))
        if count and shown != self._skipped:
            keys = ", ".join(map(repr, first_keys)) + (", ..." if count > SHOWN_KEYS else "")
            log.info("skipped in %s: %d without a video extension (%s)", self._input, count, keys)
        self._skipped = shown
        self._on_skipped(count)

    def _list(self, bucket: str) -> Iterator[ObjectInfo]:
        for info in self._store.list_objects(bucket):
            self._check_halted()
            if is_storable(info.key):
                yield info
            else:
                log.warning("ignored %r in %s: no event could contain such a key", info.key, bucket)

    def _check_halted(self) -> None:
        if self._halted:
            raise _Halted

    def _compare(
        self,
        scan: ListingScan,
        pool: ThreadPoolExecutor,
        page: list[ListedVideo],
        results_s: float,
    ) -> None:
        """Read the sources of results that are not known, and queue the videos without a result."""
        unsettled = self._queue.unsettled(self._input, [video.info.key for video in page])
        page = [video for video in page if video.info.key not in unsettled]
        sources = self._read_sources(scan, pool, [v.result_key for v in page if v.has_result])
        missing = [
            video.info
            for video in page
            if not video.has_result or sources[video.result_key] not in (None, video.info.etag)
        ]

        def add(info: ObjectInfo) -> None:
            self._queue_missing(info, results_s)

        for _ in self._at_once(pool, add, missing):
            pass

    def _read_sources(
        self, scan: ListingScan, pool: ThreadPoolExecutor, keys: list[str]
    ) -> dict[str, str | None]:
        """The etag of the video that each result was made from.

        Empty if the result does not name its video, or has been deleted; None if the store does not
        let us read it.
        """
        # A stored source that is another video's etag is read again, too. The metadata of a result
        # may change while its etag does not, because two uploads may have results with the same
        # bytes.
        sources: dict[str, str | None] = {}
        try:
            for key, source in zip(keys, self._at_once(pool, self._source, keys), strict=True):
                sources[key] = source
        finally:
            # What was read before an error is stored, so that the next scan gets further.
            known = {key: source for key, source in sources.items() if source is not None}
            scan.store_sources(known)
        return sources

    def _source(self, key: str) -> str | None:
        try:
            return self._store.metadata(self._output, key).get("source-etag", "")
        except PermanentError:
            return ""
        except StoreMisconfigured as error:
            # Not empty, because then the video would be recognised again at every scan.
            log.warning("cannot tell which video %r belongs to: %s", key, error)
            return None

    def _queue_missing(self, info: ObjectInfo, results_s: float) -> None:
        with about(key=info.key, bucket=info.bucket):
            if not self._is_current(info):
                return
            if self._queue.add_missing(info, results_s, self._write_notice):
                log.info("queued %r: it has no result", info.key)
                self._on_missing()

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

    def _at_once(
        self, pool: ThreadPoolExecutor, call: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Result]:
        """The results of the calls, several of which run at once. No call begins after `halt`."""

        def checked(item: Item) -> Result:
            self._check_halted()
            return call(item)

        return pool.map(checked, items)

    def _complete_dead_letters(self, scan: ListingScan) -> None:
        """Mark dead letters as done whose result exists: only the function's answers were lost."""
        after = ""
        while keys := self._queue.dead(self._input, after, DEAD_PAGE):
            for info in scan.matched(keys):
                self._check_halted()
                if self._queue.result_found(info):
                    with about(key=info.key, bucket=info.bucket):
                        text = "%r was a dead letter, but its result exists; it is done now"
                        log.info(text, info.key)
            after = keys[-1]


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
