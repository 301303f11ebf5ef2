"""Fills the index again from the reports and stored faces in REPORT_BUCKET.

This is safe while the trigger adds results and while people correct them (`index_writer`). An
interrupted rebuild does no harm, because videos keep their ids, but the faces of up to BATCH videos
may be missing in the search until the rebuild is continued.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, select, text, tuple_

from rollcall.core.errors import ObjectNotFound
from rollcall.core.index_types import IndexedVideo
from rollcall.core.keys import REPORT_SUFFIX, is_video_key, report_key
from rollcall.core.protocols import ObjectStore
from rollcall.core.texts import storable
from rollcall.core.work_ids import work_id_of
from rollcall.database.database import Database
from rollcall.database.index_tables import video
from rollcall.database.removal_lock import correcting_later
from rollcall.database.tables import finished
from rollcall.index.index_writer import Filled, IndexWriter
from rollcall.index.rematch_rows import add_outdated
from rollcall.index.report_reader import ReportReader
from rollcall.index.sql_index import SqlIndex

BATCH = 100
"""Reports that are put into the index between two checks whether a person is being removed."""
PAGE = 1000
"""Rows that are read from the database at once."""


@dataclass(slots=True)
class Rebuilt:
    """The result of a rebuild."""

    filled: Filled = field(default_factory=Filled)
    failed: int = 0
    """Dead letters that were put into the index."""
    removed: int = 0
    """Videos that were removed from the index, because they have no report any more."""
    last_key: str = ""
    """The reports of all videos up to this key are in the index."""


class Rebuild:
    """One rebuild. The methods are called in the order in which they are listed.

    Each raises InboxUnavailable, and the errors of the store.
    """

    def __init__(
        self, database: Database, store: ObjectStore, bucket: str, report_bucket: str
    ) -> None:
        """`bucket` is that of the videos."""
        self._database = database
        self._store = store
        self._bucket = bucket
        self._report_bucket = report_bucket
        self._index = SqlIndex(database)
        self._writer = IndexWriter(database, ReportReader(store, report_bucket))
        self._keys: list[str] = []
        """The videos that have a report, sorted."""
        self.result = Rebuilt()

    def list_reports(self, after: str = "", on_found: Callable[[], None] = lambda: None) -> int:
        """List all reports. Return the number of videos whose keys come after `after`."""
        self.result.last_key = after
        for info in self._store.list_objects(self._report_bucket):
            key = info.key.removesuffix(REPORT_SUFFIX)
            if key != info.key and is_video_key(key) and storable(key) == key:
                self._keys.append(key)
                on_found()
        self._keys.sort()
        return len(self._keys) - bisect_right(self._keys, after)

    def put_reports(self, on_done: Callable[[int], None] = lambda count: None) -> None:
        """Put the videos whose keys come after `after` into the index."""
        first = bisect_right(self._keys, self.result.last_key)
        for start in range(first, len(self._keys), BATCH):
            batch = self._keys[start : start + BATCH]
            # Otherwise a removal could rewrite a report between its reading and the index.
            with correcting_later(self._database) as check:
                filled = self._writer.put_reports(self._bucket, batch)
                # A correction finds only videos that are in the index.
                self._database.run(partial(self._compare_again, keys=filled.new))
                check()
            self.result.filled.add(filled)
            self.result.last_key = batch[-1]
            on_done(len(batch))

    def _compare_again(self, connection: Connection, keys: Sequence[str]) -> None:
        add_outdated(connection, self._database.now_s(connection), self._bucket, keys)

    def put_dead_letters(self) -> None:
        """Put all dead letters into the index. They may have no report."""
        place = (-1.0, 0)
        while True:
            # Their messages may mention a person, too.
            with correcting_later(self._database):
                rows = self._dead_letters(place)
                self._index.put([_failed(row) for row in rows])
            if not rows:
                return
            place = rows[-1].changed_s, rows[-1].id
            self.result.failed += len(rows)

    def _dead_letters(self, after: tuple[float, int]) -> Sequence[Any]:
        columns = finished.c
        query = (
            # The literal lets SQLite use the partial index.
            select(finished)
            .where(text("state='dead'"), columns.bucket == self._bucket)
            .where(tuple_(columns.changed_s, columns.id) > tuple_(*after))
            .order_by(columns.changed_s, columns.id)
            .limit(PAGE)
        )
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def remove_others(self) -> None:
        """Remove the videos from the index that have neither a report nor a dead letter."""
        after = ""
        while rows := self._indexed(after):
            after = rows[-1].key
            missing = {row.key: row.finished_s for row in rows if not self._is_listed(row.key)}
            dead = self._dead_among(list(missing))
            for key, finished_s in missing.items():
                # The video may have got a report since the reports were listed.
                if key in dead or self._has_report(key):
                    continue
                # A video that has got a newer result since then stays.
                self.result.removed += self._index.remove(self._bucket, key, finished_s)

    def _indexed(self, after: str) -> Sequence[Any]:
        query = (
            select(video.c.key, video.c.finished_s)
            .where(video.c.bucket == self._bucket, video.c.key > after)
            .order_by(video.c.key)
            .limit(PAGE)
        )
        with self._database.reading() as connection:
            return connection.execute(query).all()

    def _is_listed(self, key: str) -> bool:
        place = bisect_left(self._keys, key)
        return place < len(self._keys) and self._keys[place] == key

    def _dead_among(self, keys: Sequence[str]) -> set[str]:
        columns = finished.c
        query = select(columns.key).where(columns.bucket == self._bucket, text("state='dead'"))
        with self._database.reading() as connection:
            return {
                key
                for start in range(0, len(keys), BATCH)
                for key in connection.execute(
                    query.where(columns.key.in_(keys[start : start + BATCH]))
                ).scalars()
            }

    def _has_report(self, key: str) -> bool:
        try:
            self._store.head(self._report_bucket, report_key(key))
        except ObjectNotFound:
            return False
        return True


def _failed(row: Row[Any]) -> IndexedVideo:
    """The entry of a dead letter in the index."""
    return IndexedVideo(
        bucket=row.bucket,
        key=row.key,
        etag=row.etag,
        status="error",
        work_id=work_id_of(row.identity),
        error_code=row.code,
        error_message=row.message,
        uploaded_s=row.uploaded_s or row.changed_s,
        finished_s=row.changed_s,
    )
