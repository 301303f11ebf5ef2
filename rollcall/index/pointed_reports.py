"""Puts videos into the index from their reports, for documents in `unindexed` that point to them.

These are videos with stored faces, results that the reconciler has found, and answers that are too
long (`core.index_documents`). One trigger at a time reads reports.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, select, text

from rollcall.core.index_documents import POINTER, answer_beside, pointed_at
from rollcall.core.index_types import IndexedVideo
from rollcall.core.retry import parse_json_object
from rollcall.database.database import Database
from rollcall.database.exclusive import Exclusive, exclusive
from rollcall.database.index_tables import video as table
from rollcall.database.json_rows import among_sql, ids_value
from rollcall.database.removal_lock import Check, correcting
from rollcall.index.documents import NotAboutAVideo, indexed_video
from rollcall.index.index_writer import REPORTS_AT_ONCE, IndexWriter
from rollcall.index.rematch_rows import add_outdated
from rollcall.index.report_reader import ReportReader
from rollcall.index.sql_index import SqlIndex, replaces

log = logging.getLogger(__name__)

REPORTS = REPORTS_AT_ONCE
"""Reports that are read for one transaction that deletes their documents."""

LOCK = 0x726F6C6C696E6478
"""Key of the advisory lock of the trigger that reads reports: `rollindx`."""

IS_POINTER = f"substr(document, 1, {len(POINTER)}) = :pointer"
_ANY_POINTER = text(f"SELECT EXISTS (SELECT 1 FROM unindexed WHERE {IS_POINTER})")
_POINTERS = text(
    f"SELECT id, document, created_s FROM unindexed WHERE id > :after_id AND {IS_POINTER}"
    " ORDER BY id LIMIT :limit"
)


class PointedReports:
    """Reads the reports. `reader` is None if there are none (REPORT_BUCKET is empty)."""

    def __init__(self, database: Database, reader: ReportReader | None) -> None:
        self._database = database
        self._index = SqlIndex(database)
        self._writer = IndexWriter(database, reader) if reader else None
        self._remove = text(f"DELETE FROM unindexed WHERE {among_sql(database.shared, 'id')}")

    def put_all(self, halted: Callable[[], bool]) -> None:
        """Put all these videos into the index, unless another trigger does, or a person is being
        removed. Raises InboxUnavailable, and the errors of the store."""
        with self._database.reading() as connection:
            if not connection.execute(_ANY_POINTER, {"pointer": POINTER}).scalar_one():
                return
        with exclusive(self._database, LOCK) as allowed:
            after_id: int | None = 0
            while allowed and after_id is not None and not halted():
                # Otherwise a removal could rewrite a report between its reading and the index.
                with correcting(self._database) as check:
                    after_id = self._put_batch(allowed, after_id, check) if check else None

    def _put_batch(self, allowed: Exclusive, after_id: int, check: Check) -> int | None:
        """Read the next reports. Return the id of the last document; None if there are no more."""
        values = {"after_id": after_id, "limit": REPORTS, "pointer": POINTER}
        with allowed.reading() as connection:
            rows = connection.execute(_POINTERS, values).all()
        if not rows:
            return None
        self._put_reports(rows)
        check()  # if a removal has begun meanwhile, the reports are read again
        ids = [row.id for row in rows]
        with allowed.transaction() as connection:
            connection.execute(self._remove, {"ids": ids_value(self._database.shared, ids)})
        return int(ids[-1]) if len(ids) == REPORTS else None

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
            self._database.run(partial(self._compare_again, bucket=bucket, keys=list(row_of)))

    def _put_answers(self, bucket: str, row_of: Mapping[str, Any]) -> None:
        """Put videos into the index from their answers if the function could not write the report,
        so that there is none or an older one."""
        with self._database.reading() as connection:
            query = select(table.c.key, table.c.finished_s, table.c.status, table.c.etag)
            own = query.where(table.c.bucket == bucket, table.c.key.in_(list(row_of)))
            found = {row.key: row for row in connection.execute(own)}
        newer, lost = [], 0
        for key, row in row_of.items():
            answer = answer_beside(parse_json_object(row.document))
            answered = indexed(row, answer) if answer else None
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

    def _compare_again(self, connection: Connection, bucket: str, keys: Sequence[str]) -> None:
        """Queue the videos that were recognised with a gallery that was corrected since."""
        add_outdated(connection, self._database.now_s(connection), bucket, keys)


def _is_newer(answer: Mapping[str, Any] | None, answered: IndexedVideo, before: Any) -> bool:
    """Whether the index lacks the result in the answer. False if it has the same result from the
    report, and if the answer does not say when the video was recognised."""
    recognised_s = indexed_video(answer).finished_s
    return recognised_s not in (0, before.finished_s) and replaces(answered, before)


def indexed(row: Any, document: Mapping[str, Any]) -> IndexedVideo | None:
    """The video that a document in a row of `unindexed` is about; None if it is about no video."""
    try:
        return indexed_video(document, row.created_s)
    except NotAboutAVideo as error:
        log.error("result %d is left out of the index: %s", row.id, error)
        return None
