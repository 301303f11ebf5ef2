"""Corrects the videos in the queue (table `rematch`), one after the other.

`rollcall web` runs a Rematcher in a thread, and commands run one until the queue is empty. Several
may run at once: a claimed video belongs to one of them for LEASE_S seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from rollcall.core.errors import (
    GalleryMissing,
    ObjectChanged,
    PermanentError,
    RollcallError,
    TransientError,
)
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import GalleryLocation
from rollcall.corrections.corrector import Correction, Corrector
from rollcall.corrections.gallery_writer import GalleryWriter
from rollcall.corrections.removed_examples import prune_removed
from rollcall.database.database import Database
from rollcall.database.removal_lock import Check, correcting
from rollcall.gallery.gallery_locations import read_gallery
from rollcall.index.change_log import SqlChangeLog, count_failed, count_videos
from rollcall.index.rematch_rows import (
    Rematch,
    any_due,
    claim,
    finish,
    pending,
    postpone,
    without_late_results,
)

log = logging.getLogger(__name__)

BATCH = 20
"""Videos that are claimed at once, and put into the index in one transaction."""

LEASE_S = 300.0
"""How long a batch belongs to one process. A video takes milliseconds, one with 100,000 faces some
seconds."""

POLL_S = 1.0
"""Pause between two checks of an empty queue."""

RETRY_S = 5.0
"""Pause after an error of the database or the store."""

GALLERY_CHECK_S = 10.0
"""Seconds between two checks whether somebody else changed the gallery."""

HOUSEKEEPING_S = 3600.0

FIRST_DELAY_S, MAX_DELAY_S = 2.0, 600.0
"""Delays before the second attempt and before later ones; the delay doubles in between."""

MAX_ATTEMPTS = 50
"""After so many attempts, about seven hours, a video is left uncorrected."""


class Done(NamedTuple):
    """The numbers of videos of a run, by outcome."""

    changed: int = 0
    unchanged: int = 0
    failed: int = 0
    """Videos that cannot be corrected; the process's log says why."""
    postponed: int = 0
    """Videos that are tried again later."""

    def __add__(self, other: tuple[int, ...]) -> Done:  # type: ignore[override]
        return Done(*(left + right for left, right in zip(self, other, strict=True)))

    @property
    def all(self) -> int:
        return sum(self)


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
        self._log = SqlChangeLog(database)
        self._gallery: Gallery | None = None
        self._stamp = ""
        self._unknown = ""
        """A version of the gallery for which no videos were queued."""
        self._lock = threading.Lock()

    def run_due(self, on_progress: Callable[[Done, int], None] | None = None) -> Done:
        """Correct all videos that are due. `on_progress` gets what is done, and how many are left.

        Raises TransientError if the gallery or the database cannot be reached, and GalleryError.
        """
        done = Done()
        while found := self.run_batch():
            if not found.all:  # a person is being removed
                time.sleep(POLL_S)
            done += found
            if on_progress:
                on_progress(done, self.pending())
        return done

    def run_batch(self) -> Done | None:
        """Correct a few videos; None if no video is due. While a person is being removed, no video
        is corrected."""
        with self._database.reading() as connection:
            if not any_due(connection, self._database.now_s(connection)):
                return None
        with correcting(self._database) as check:
            return self._run_batch(check) if check else Done()

    def _run_batch(self, check: Check) -> Done | None:
        rows = self._database.run(self._claim)
        if not rows:
            return None
        try:
            # Loaded after the claim, so that it is not older than the changes that queued the rows.
            gallery = self._newest_gallery()
        except RollcallError as error:
            for row in rows:
                self._postpone(row, error)
            raise
        done = Done()
        right: list[tuple[Rematch, Correction | None]] = []
        for row in rows:
            try:
                right.append((row, self._corrected(row, gallery)))
            except PermanentError as error:
                done += self._give_up(row, error)
            except Exception as error:
                done += self._failed(row, error)
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
        with self._database.reading() as connection:
            return pending(connection)

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

    def _claim(self, connection: Connection) -> list[Rematch]:
        now_s = self._database.now_s(connection)
        while claimed := claim(connection, now_s, BATCH, LEASE_S):
            if rows := without_late_results(connection, now_s, claimed):
                return rows
        return []

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
            return Done(postponed=sum(self._postpone(row, error).postponed for row, _ in right))
        changes = Counter(row.change_id for row, correction in right if correction)

        def end(connection: Connection) -> None:
            for row, _ in right:
                finish(connection, row)
            for change_id, count in changes.items():
                if change_id is not None:
                    count_videos(connection, change_id, count)

        if right:
            self._database.run(end)
        changed = changes.total()
        return Done(changed=changed, unchanged=len(right) - changed)

    def _failed(self, row: Rematch, error: Exception) -> Done:
        if not isinstance(error, TransientError):
            log.exception("%r cannot be corrected", row.key)
        if row.attempts + 1 >= MAX_ATTEMPTS:
            return self._give_up(row, error)
        return self._postpone(row, error)

    def _give_up(self, row: Rematch, error: Exception) -> Done:
        log.error("%r is not corrected: %s", row.key, error)

        def end(connection: Connection) -> None:
            if finish(connection, row) and row.change_id is not None:
                count_failed(connection, row.change_id)

        self._database.run(end)
        return Done(failed=1)

    def _postpone(self, row: Rematch, error: Exception) -> Done:
        delay_s = min(FIRST_DELAY_S * 2.0**row.attempts, MAX_DELAY_S)
        if isinstance(error, ObjectChanged):
            log.info("%r will be corrected later: %s", row.key, error)
        else:
            log.warning("%r is not corrected, trying again in %.0f s: %s", row.key, delay_s, error)

        def later(connection: Connection) -> None:
            due_s = self._database.now_s(connection) + delay_s
            postpone(connection, row, due_s, str(error)[:1000])

        self._database.run(later)
        return Done(postponed=1)
