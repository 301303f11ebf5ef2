"""Fills the index with the results that the trigger's work queue has recorded.

A work queue writes a document about each result into `unindexed`, in the transaction that ends the
work. A thread puts these documents into the index, in batches. Several triggers share the rows.
Documents that only point to a report are left to `pointed_reports`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from sqlalchemy import Connection, text

from rollcall.core.errors import InboxUnavailable, TransientError
from rollcall.core.index_documents import POINTER, pointer_document
from rollcall.core.index_types import IndexedVideo
from rollcall.core.retry import parse_json_object
from rollcall.database.database import Database, is_about_data
from rollcall.database.json_rows import among_sql, ids_value
from rollcall.index.pointed_reports import IS_POINTER, PointedReports, indexed
from rollcall.index.rematch_rows import add_outdated
from rollcall.index.report_reader import ReportReader
from rollcall.index.sql_index import SqlIndex, Written

log = logging.getLogger(__name__)

BATCH = 100
"""Documents of one transaction. In SQLite, events wait while it is written."""
GATHER_S = 0.3
"""Pause before the results of a busy time are put into the index, so that they come in batches."""
POLL_S = 5.0
"""Pause without new results. Another process may have written some and stopped."""
ERROR_PAUSE_S = 30.0
"""Pause after an error of the database or the store."""
MAX_COUNTED = 10_000
"""Largest number that `count` returns."""

_COUNT = text(f"SELECT count(*) FROM (SELECT 1 FROM unindexed LIMIT {MAX_COUNTED}) AS waiting")
_ADD = text("INSERT INTO unindexed (document, created_s) VALUES (:document, 0)")


class _Batch(NamedTuple):
    is_full: bool
    written: Written


class Indexer:
    """The thread. `reader` is None if no reports are written (REPORT_BUCKET is empty)."""

    def __init__(self, database: Database, reader: ReportReader | None) -> None:
        self._database = database
        self._index = SqlIndex(database)
        self._reports = PointedReports(database, reader)
        lock = "FOR UPDATE SKIP LOCKED" if database.shared else ""
        self._documents = text(
            f"SELECT id, document, created_s FROM unindexed WHERE NOT {IS_POINTER}"
            f" ORDER BY id LIMIT :limit {lock}"
        )
        self._remove = text(f"DELETE FROM unindexed WHERE {among_sql(database.shared, 'id')}")
        self._limit = BATCH
        self._woken = threading.Event()
        self._stopped = threading.Event()
        self._halted = False
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There are new results. Returns at once."""
        self._woken.set()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def halt(self) -> None:
        """Begin no further batch. Safe in a signal handler."""
        self._halted = True

    def stop(self) -> None:
        """Halt, and wait for a batch in progress. Results that are left stay in `unindexed`."""
        self.halt()
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()

    def add_report(self, bucket: str, key: str) -> None:
        """Put a video into the index from its report, soon. Raises InboxUnavailable.

        For results that no work queue in this database has recorded.
        """
        values = {"document": pointer_document(bucket, key)}
        self._database.run(lambda connection: connection.execute(_ADD, values))
        self.wake()

    def count(self) -> int:
        """The number of results that are not in the index yet. Raises InboxUnavailable."""
        with self._database.reading() as connection:
            return int(connection.execute(_COUNT).scalar_one())

    def index_all(self) -> None:
        """Put all results into the index. Raises InboxUnavailable, and the errors of the store."""
        self._index_documents()
        self._read_reports()

    def _run(self) -> None:
        reports_due_at = 0.0
        while not self._halted:
            self._woken.clear()
            is_done = _is_done(self._index_documents)
            # While the store fails, other results do not wait for it.
            if is_done and time.monotonic() >= reports_due_at and not _is_done(self._read_reports):
                reports_due_at = time.monotonic() + ERROR_PAUSE_S
            if is_done:
                self._woken.wait(POLL_S)
            if self._stopped.wait(GATHER_S if is_done else ERROR_PAUSE_S):
                return

    def _index_documents(self) -> None:
        while not self._halted and self._index_batch():
            pass

    def _read_reports(self) -> None:
        self._reports.put_all(lambda: self._halted)

    def _index_batch(self) -> bool:
        """Put the oldest documents into the index, and return whether many more may wait."""
        ids: list[int] = []
        try:
            batch = self._database.run(partial(self._take_documents, ids=ids))
        except InboxUnavailable as error:
            if not is_about_data(error):
                raise
            # One document is wrong. It must not keep the others out of the index.
            if len(ids) == 1:
                log.error("result %s cannot be put into the index, and is left out: %s", ids, error)
                self._database.run(partial(self._delete, ids=ids))
            self._limit = 1
            return True
        self._limit = min(BATCH, self._limit * 2)
        self._index.ungroup(batch.written.ungrouped)
        # If more come in one by one, they are gathered for the next batch.
        return batch.is_full

    def _take_documents(self, connection: Connection, ids: list[int]) -> _Batch:
        """Put the oldest documents into the index. `ids` becomes the ids of their rows."""
        values = {"limit": self._limit, "pointer": POINTER}
        rows = connection.execute(self._documents, values).all()
        ids[:] = [row.id for row in rows]
        if not rows:
            return _Batch(False, Written({}, set()))
        parsed = (indexed(row, parse_json_object(row.document)) for row in rows)
        videos = [video for video in parsed if video]
        written = self._index.put_in(connection, videos)
        for bucket, keys in _keys_of(videos).items():
            add_outdated(connection, self._database.now_s(connection), bucket, keys)
        self._delete(connection, ids)
        return _Batch(len(rows) == self._limit, written)

    def _delete(self, connection: Connection, ids: Sequence[int]) -> None:
        connection.execute(self._remove, {"ids": ids_value(self._database.shared, ids)})


def _is_done(step: Callable[[], None]) -> bool:
    """Whether the step came to its end. Its error is logged."""
    try:
        step()
    except TransientError as error:
        log.error("results cannot be put into the index, trying again later: %s", error)
        return False
    except Exception:
        log.exception("results cannot be put into the index, trying again later")
        return False
    return True


def _keys_of(videos: Sequence[IndexedVideo]) -> dict[str, list[str]]:
    """The keys of the videos that show somebody, by bucket."""
    keys: dict[str, list[str]] = {}
    for video in videos:
        if video.people:
            keys.setdefault(video.bucket, []).append(video.key)
    return keys
