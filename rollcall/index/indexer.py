"""Fills the index with the results that the trigger's work queue has recorded.

A work queue writes a document about each result into `unindexed`, in the transaction that ends the
work. A thread puts these documents into the index, in batches. Several triggers share the rows.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select, text

from rollcall.core.errors import InboxUnavailable, TransientError
from rollcall.core.index_documents import (
    POINTER,
    answer_beside,
    pointed_at,
    pointer_document,
)
from rollcall.core.index_types import IndexedVideo
from rollcall.core.retry import parse_json_object
from rollcall.database.database import Database, is_about_data
from rollcall.database.exclusive import Exclusive, exclusive
from rollcall.database.index_tables import video as table
from rollcall.database.json_rows import among_sql, ids_value
from rollcall.database.removal_lock import Check, correcting
from rollcall.index.documents import NotAboutAVideo, indexed_video
from rollcall.index.index_writer import IndexWriter
from rollcall.index.rematch_rows import add_outdated
from rollcall.index.report_reader import ReportReader
from rollcall.index.sql_index import SqlIndex, Written, replaces

log = logging.getLogger(__name__)

BATCH = 100
"""Documents of one transaction. In SQLite, events wait while it is written."""
REPORTS = 50
"""Reports that are read before they are put into the index."""
GATHER_S = 0.3
"""Pause before the results of a busy time are put into the index, so that they come in batches."""
POLL_S = 5.0
"""Pause without new results. Another process may have written some and stopped."""
STORE_PAUSE_S = 30.0
"""Pause after the store failed, before reports are read again."""
MAX_COUNTED = 10_000
"""Largest number that `count` returns."""

LOCK = 0x726F6C6C696E6478
"""Key of the advisory lock of the trigger that reads reports: `rollindx`."""

_IS_POINTER = f"substr(document, 1, {len(POINTER)}) = :pointer"
_COUNT = text(f"SELECT count(*) FROM (SELECT 1 FROM unindexed LIMIT {MAX_COUNTED}) AS waiting")
_ANY_POINTER = text(f"SELECT EXISTS (SELECT 1 FROM unindexed WHERE {_IS_POINTER})")
_ADD = text("INSERT INTO unindexed (document, created_s) VALUES (:document, 0)")
_POINTERS = text(
    f"SELECT id, document, created_s FROM unindexed WHERE id > :after_id AND {_IS_POINTER}"
    " ORDER BY id LIMIT :limit"
)


class _Batch(NamedTuple):
    taken: int
    written: Written


class Indexer:
    """The thread. `reader` is None if no reports are written (REPORT_BUCKET is empty)."""

    def __init__(self, database: Database, reader: ReportReader | None) -> None:
        self._database = database
        self._index = SqlIndex(database)
        self._writer = IndexWriter(database, reader) if reader else None
        lock = "FOR UPDATE SKIP LOCKED" if database.shared else ""
        self._documents = text(
            f"SELECT id, document, created_s FROM unindexed WHERE NOT {_IS_POINTER}"
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
        while not self._halted and self._index_batch():
            pass
        self._read_reports()

    def _run(self) -> None:
        while not self._halted:
            pause_s = POLL_S
            self._woken.clear()
            try:
                self.index_all()
            except TransientError as error:
                log.error("results cannot be put into the index, trying again later: %s", error)
                pause_s = STORE_PAUSE_S
            except Exception:
                log.exception("results cannot be put into the index, trying again later")
                pause_s = STORE_PAUSE_S
            if pause_s == POLL_S:
                self._woken.wait(pause_s)
                pause_s = GATHER_S
            if self._stopped.wait(pause_s):
                return

    def _index_batch(self) -> int:
        """Put the oldest documents into the index, and return their number."""
        try:
            batch = self._database.run(self._take_documents)
        except InboxUnavailable as error:
            if not is_about_data(error):
                raise
            if self._limit == 1:
                self._drop_oldest(error)
            # One document is wrong. It must not keep the others out of the index.
            self._limit = 1
            return 1
        self._limit = min(BATCH, self._limit * 2)
        self._index.ungroup(batch.written.ungrouped)
        return batch.taken

    def _take_documents(self, connection: Connection) -> _Batch:
        rows = connection.execute(self._documents, self._values()).all()
        if not rows:
            return _Batch(0, Written({}, set()))
        videos = [each for row in rows if (each := _parsed(row))]
        written = self._index.put_in(connection, videos)
        for bucket, keys in _keys_of(videos).items():
            add_outdated(connection, self._database.now_s(connection), bucket, keys)
        self._delete(connection, [row.id for row in rows])
        return _Batch(len(rows), written)

    def _drop_oldest(self, error: InboxUnavailable) -> None:
        def drop(connection: Connection) -> None:
            ids = [row.id for row in connection.execute(self._documents, self._values())]
            log.error("result %s cannot be put into the index, and is left out: %s", ids, error)
            self._delete(connection, ids)

        self._database.run(drop)

    def _values(self) -> dict[str, object]:
        return {"limit": self._limit, "pointer": POINTER}

    def _delete(self, connection: Connection, ids: Sequence[int]) -> None:
        connection.execute(self._remove, {"ids": ids_value(self._database.shared, ids)})

    def _read_reports(self) -> None:
        """Put the videos into the index whose documents say that the report has to be read."""
        with self._database.reading() as connection:
            if not connection.execute(_ANY_POINTER, {"pointer": POINTER}).scalar_one():
                return
        with exclusive(self._database, LOCK) as allowed:
            after_id: int | None = 0
            while allowed and after_id is not None and not self._halted:
                # Otherwise a removal could rewrite a report between its reading and the index.
                with correcting(self._database) as check:
                    after_id = self._read_batch(allowed, after_id, check) if check else None

    def _read_batch(self, allowed: Exclusive, after_id: int, check: Check) -> int | None:
        """Read the next reports. Return the id of the last document; None if there are no more."""
        values = {"after_id": after_id, "limit": REPORTS, "pointer": POINTER}
        with allowed.reading() as connection:
            rows = connection.execute(_POINTERS, values).all()
        if not rows:
            return None
        self._put_reports(rows)
        check()  # if a removal has begun meanwhile, the reports are read again
        with allowed.transaction() as connection:
            self._delete(connection, [row.id for row in rows])
        return int(rows[-1].id) if len(rows) == REPORTS else None

    def _put_reports(self, rows: Sequence[Any]) -> None:
        by_bucket: dict[str, dict[str, Any]] = {}
        for row in rows:
            if place := pointed_at(parse_json_object(row.document)):
                by_bucket.setdefault(place[0], {})[place[1]] = row
        if self._writer is None:
            log.warning("%d reports are not read, because REPORT_BUCKET is empty", len(rows))
        for bucket, row_of in by_bucket.items():
            if self._writer is not None:
                self._writer.put_reports(bucket, list(row_of))
            self._put_answers(bucket, row_of)
            self._compare_again(bucket, list(row_of))

    def _put_answers(self, bucket: str, row_of: Mapping[str, Any]) -> None:
        """Put videos into the index from their answers, because the function could not write the
        report, so that there is none or an older one."""
        with self._database.reading() as connection:
            query = select(table.c.key, table.c.finished_s, table.c.status, table.c.etag)
            own = query.where(table.c.bucket == bucket, table.c.key.in_(list(row_of)))
            found = {row.key: row for row in connection.execute(own)}
        newer, lost = [], 0
        for key, row in row_of.items():
            answer = answer_beside(parse_json_object(row.document))
            answered = _indexed(row, answer) if answer else None
            before = found.get(key)
            if answered and (before is None or _is_newer(answer, answered, before)):
                newer.append(answered)
            lost += not answered and before is None
        # Stored faces that fit no report are not searched.
        self._index.put(newer)
        if newer:
            log.warning("%d videos are put into the index without their reports", len(newer))
        if lost:
            log.warning("%d videos have no report that can be read, so the index lacks them", lost)

    def _compare_again(self, bucket: str, keys: Sequence[str]) -> None:
        """Queue the videos that were recognised with a gallery that was corrected since."""
        database = self._database
        database.run(
            lambda connection: add_outdated(connection, database.now_s(connection), bucket, keys)
        )


def _keys_of(videos: Sequence[IndexedVideo]) -> dict[str, list[str]]:
    """The keys of the videos that show somebody, by bucket."""
    keys: dict[str, list[str]] = {}
    for video in videos:
        if video.people:
            keys.setdefault(video.bucket, []).append(video.key)
    return keys


def _parsed(row: Any) -> IndexedVideo | None:
    return _indexed(row, parse_json_object(row.document))


def _is_newer(answer: Mapping[str, Any] | None, answered: IndexedVideo, before: Any) -> bool:
    """Whether the index lacks the result in the answer. False if it has the same result from the
    report, and if the answer does not say when the video was recognised."""
    recognised_s = indexed_video(answer).finished_s
    return recognised_s not in (0, before.finished_s) and replaces(answered, before)


def _indexed(row: Any, document: Mapping[str, Any]) -> IndexedVideo | None:
    try:
        return indexed_video(document, row.created_s)
    except NotAboutAVideo as error:
        log.error("result %d is left out of the index: %s", row.id, error)
        return None
