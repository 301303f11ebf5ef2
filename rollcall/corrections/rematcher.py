"""Corrects the videos in the queue (table `rematch`), one after the other.

`rollcall web` runs a Rematcher in a thread, and commands run one until the queue is empty. Several
may run at once: a claimed video belongs to one of them for LEASE_S seconds (`rematch_queue`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rollcall.core.errors import GalleryMissing, PermanentError, RollcallError, StoreUnavailable
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import GalleryLocation
from rollcall.corrections.corrector import Correction, Corrector
from rollcall.corrections.gallery_writer import GalleryWriter
from rollcall.corrections.rematch_queue import Done, RematchQueue
from rollcall.corrections.removed_examples import prune_removed
from rollcall.database.database import Database
from rollcall.database.removal_lock import Check, correcting
from rollcall.gallery.gallery_locations import read_gallery
from rollcall.index.change_log import SqlChangeLog
from rollcall.index.rematch_rows import Rematch

log = logging.getLogger(__name__)

MAX_IN_VAIN = 2
"""Batches of which no video could be corrected, after which a command ends."""

POLL_S = 1.0
"""Pause between two checks of an empty queue."""

RETRY_S = 5.0
"""Pause after an error of the database or the store."""

GALLERY_CHECK_S = 10.0
"""Seconds between two checks whether somebody else changed the gallery."""

HOUSEKEEPING_S = 3600.0


@dataclass
class _Task:
    """Something that is done every `every_s` seconds."""

    every_s: float
    run: Callable[[], None]
    due_at: float = 0.0

    def run_if_due(self) -> None:
        if time.monotonic() >= self.due_at:
            self.due_at = time.monotonic() + self.every_s
            self.run()


class Rematcher:
    """Safe to share between threads."""

    def __init__(
        self,
        database: Database,
        location: GalleryLocation,
        corrector: Corrector,
        writer: GalleryWriter,
    ) -> None:
        self._database = database
        self._location = location
        self._corrector = corrector
        self._writer = writer
        self._queue = RematchQueue(database)
        self._log = SqlChangeLog(database)
        self._gallery: Gallery | None = None
        self._stamp = ""
        self._unknown = ""
        """A version of the gallery for which no videos were queued."""
        self._lock = threading.Lock()

    def run_due(
        self,
        on_progress: Callable[[Done, int], None] | None = None,
        limit_s: float | None = None,
    ) -> Done:
        """Correct all videos that are due. `on_progress` gets what is done, and how many are left.

        It stops after `limit_s` seconds, and after two batches of which no video could be
        corrected: then the store probably does not answer.

        Raises TransientError if the gallery or the database cannot be reached, and GalleryError.
        """
        done, started, in_vain = Done(), time.monotonic(), 0
        while found := self.run_batch():
            if not found.all:  # a person is being removed
                time.sleep(POLL_S)
            done += found
            if on_progress:
                on_progress(done, self.pending())
            in_vain = in_vain + 1 if found.all and found.postponed == found.all else 0
            is_over = limit_s is not None and time.monotonic() - started >= limit_s
            if is_over or in_vain == MAX_IN_VAIN:
                break
        return done

    def run_batch(self) -> Done | None:
        """Correct a few videos; None if no video is due. While a person is being removed, no video
        is corrected."""
        if not self._queue.is_due():
            return None
        with correcting(self._database) as check:
            return self._run_batch(check) if check else Done()

    def _run_batch(self, check: Check) -> Done | None:
        rows = self._queue.claim()
        if not rows:
            return None
        try:
            # Loaded after the claim, so that it is not older than the changes that queued the rows.
            gallery = self._newest_gallery()
        except RollcallError as error:
            self._queue.postpone(rows, error)
            raise
        done = Done()
        right: list[tuple[Rematch, Correction | None]] = []
        for place, row in enumerate(rows):
            try:
                right.append((row, self._corrected(row, gallery)))
            except PermanentError as error:
                done += self._queue.give_up(row, error)
            except StoreUnavailable as error:
                # Each further video would take as long as the time-outs of the store.
                done += self._queue.failed(row, error)
                done += self._queue.give_back(rows[place + 1 :], error)
                break
            except Exception as error:
                done += self._queue.failed(row, error)
        return done + self._end(right, check)

    def notice_changes(self) -> None:
        """If somebody else has changed the gallery, queue all videos with stored faces.

        Only at the second call that finds the same change, because another process that corrects
        the gallery queues the videos a moment later.
        """
        gallery = self._newest_gallery()
        if gallery is None or self._writer.is_known(gallery):
            self._unknown = ""
        elif self._unknown == gallery.version:
            self._writer.catch_up(gallery)
        else:
            self._unknown = gallery.version

    def pending(self) -> int:
        return self._queue.pending()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Correct videos in a thread, until the end of the block."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,), name="rematcher", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _run(self, stop: threading.Event) -> None:
        tasks = [_Task(GALLERY_CHECK_S, self.notice_changes), _Task(HOUSEKEEPING_S, self._clean_up)]
        while not stop.is_set():
            try:
                for task in tasks:
                    task.run_if_due()
                found = self.run_batch()
            except Exception as error:
                # The queue is in the database, so nothing is lost.
                log.error("videos cannot be corrected now, trying again: %s", error)
                stop.wait(RETRY_S)
                continue
            if found is None or found.postponed == found.all:
                stop.wait(POLL_S)

    def _clean_up(self) -> None:
        self._log.prune()
        prune_removed(self._database, self._location)

    def _newest_gallery(self) -> Gallery | None:
        """The gallery, loaded again if it has changed; None if there is none yet."""
        with self._lock:
            try:
                stamp = self._location.stamp()
            except GalleryMissing:
                return None
            if stamp != self._stamp:
                self._gallery, self._stamp = read_gallery(self._location), stamp
            return self._gallery

    def _corrected(self, row: Rematch, gallery: Gallery | None) -> Correction | None:
        if gallery is None:  # an empty gallery is false, too
            return None
        return self._corrector.correct(row.bucket, row.key, gallery)

    def _end(self, right: Sequence[tuple[Rematch, Correction | None]], check: Check) -> Done:
        """Put what changed into the index, and take the videos out of the queue."""
        try:
            check()  # otherwise a removal may have run since, and this would undo it
            self._corrector.put([correction for _, correction in right if correction])
        except RollcallError as error:
            return self._queue.postpone([row for row, _ in right], error)
        return self._queue.end([(row, correction is not None) for row, correction in right])
