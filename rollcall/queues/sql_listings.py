"""The reconciler's listings in the database, in which SQL compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Subquery,
    Table,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)

from rollcall.core.errors import StoreMisconfigured
from rollcall.core.types import ListedVideo, ObjectInfo, SkippedUpload
from rollcall.database.database import Database
from rollcall.database.exclusive import Exclusive, exclusive
from rollcall.database.index_tables import skipped_upload
from rollcall.database.tables import listed_result, listed_video, reconciled

PAGE = 1000
"""Rows in a page. Each page is one transaction, which takes a few milliseconds, so that events need
not wait long for it (docs/performance.md)."""

LOCK = 0x6C697374696E6773
"""Key of the advisory lock that a scan holds: `listings`."""

_LIMIT: ColumnElement[int] = literal_column(str(PAGE))
# A number and not a parameter, because PostgreSQL plans a query with an unknown limit as if it read
# a tenth of the table. It would then read the whole table of results for each page.

_READ_IN_ORDER = text("SET enable_seqscan=off; SET enable_bitmapscan=off")
"""Settings for the connection of a scan. Until PostgreSQL has statistics of a table that has just
been filled, it takes the table for small, and would read and sort the rest of it for each page."""

_SAVE_VIDEOS = text(
    "INSERT INTO listed_video"
    " (bucket, key, result_key, version_id, etag, size_bytes, modified_s) VALUES"
    " (:bucket, :key, :result_key, :version_id, :etag, :size_bytes, :modified_s)"
    " ON CONFLICT (bucket, key) DO UPDATE SET result_key=excluded.result_key,"
    " version_id=excluded.version_id, etag=excluded.etag, size_bytes=excluded.size_bytes,"
    " modified_s=excluded.modified_s"
)
_SAVE_RESULTS = text(
    "INSERT INTO listed_result (bucket, key, etag, modified_s)"
    " VALUES (:bucket, :key, :etag, :modified_s) ON CONFLICT (bucket, key)"
    " DO UPDATE SET etag=excluded.etag, modified_s=excluded.modified_s, source_etag=NULL"
)
_SAVE_SKIPPED = text(
    "INSERT INTO skipped_upload (bucket, key, reason, uploaded_s, seen_s)"
    " VALUES (:bucket, :key, :reason, :uploaded_s, :seen_s) ON CONFLICT (bucket, key)"
    " DO UPDATE SET reason=excluded.reason, uploaded_s=excluded.uploaded_s, seen_s=excluded.seen_s"
)
_SAVE_SUCCESS = text(
    "INSERT INTO reconciled (bucket, finished_s) VALUES (:bucket, :finished_s)"
    " ON CONFLICT (bucket) DO UPDATE SET finished_s=excluded.finished_s"
)
_SAVE_SOURCE = (
    update(listed_result)
    .where(listed_result.c.bucket == bindparam("in_bucket"), listed_result.c.key == bindparam("at"))
    .values(source_etag=bindparam("source"))
)

_VIDEO_FACTS = ("result_key", "version_id", "etag", "size_bytes", "modified_s")
_RESULT_FACTS = ("etag", "modified_s")


class SqlListings:
    """Listings in the tables `listed_video` and `listed_result`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.shared = database.shared

    @contextmanager
    def scan(
        self, input_bucket: str, output_bucket: str, before_page: Callable[[], None]
    ) -> Iterator[SqlListingScan | None]:
        with exclusive(self._database, LOCK) as access:
            if access is None:
                yield None
                return
            if self.shared:
                with access.transaction() as connection:
                    connection.execute(_READ_IN_ORDER)
            yield SqlListingScan(self._database, access, input_bucket, output_bucket, before_page)


class SqlListingScan:
    """A ListingScan by the process that holds the lock.

    The store lists a bucket in the order of the tables' primary keys. Therefore each page of a
    listing is compared with the rows between its first and its last key, and only differences are
    written. A second scan of the same objects writes nothing.
    """

    def __init__(
        self,
        database: Database,
        access: Exclusive,
        input_bucket: str,
        output_bucket: str,
        before_page: Callable[[], None],
    ) -> None:
        self._database = database
        self._transaction = access.transaction
        self._reading = access.reading
        self._input = input_bucket
        self._output = output_bucket
        self._before_page = before_page

    def now_s(self) -> float:
        with self._reading() as connection:
            return self._database.now_s(connection)

    def last_success_s(self) -> float:
        query = select(reconciled.c.finished_s).where(reconciled.c.bucket == self._input)
        with self._reading() as connection:
            return connection.execute(query).scalar() or 0.0

    def store_videos(self, videos: Iterable[ListedVideo]) -> None:
        rows = (
            {
                "bucket": self._input,
                "key": video.info.key,
                "result_key": video.result_key,
                "version_id": video.info.version_id,
                "etag": video.info.etag,
                "size_bytes": video.info.size_bytes,
                "modified_s": video.info.modified_s,
            }
            for video in videos
        )
        self._replace(listed_video, self._input, _VIDEO_FACTS, _SAVE_VIDEOS, rows)

    def store_skipped(self, skipped: Sequence[SkippedUpload]) -> None:
        rows = [
            {
                "bucket": self._input,
                "key": each.info.key,
                "reason": each.reason,
                "uploaded_s": each.info.modified_s,
            }
            for each in skipped
        ]
        with self._transaction() as connection:
            seen = {"seen_s": self._database.now_s(connection)}
            if rows:
                connection.execute(_SAVE_SKIPPED, [row | seen for row in rows])
            gone = delete(skipped_upload).where(skipped_upload.c.seen_s < seen["seen_s"])
            connection.execute(gone)

    def store_results(self, results: Iterable[ObjectInfo]) -> None:
        rows = (
            {
                "bucket": self._output,
                "key": info.key,
                "etag": info.etag,
                "modified_s": info.modified_s,
            }
            for info in results
        )
        self._replace(listed_result, self._output, _RESULT_FACTS, _SAVE_RESULTS, rows)

    def unmatched(self) -> Iterator[list[ListedVideo]]:
        after = ""
        while True:
            self._before_page()
            page = _page_of_videos(self._input, after)
            with self._reading() as connection:
                last = connection.execute(select(func.max(page.c.key))).scalar()
                rows = connection.execute(_unmatched(_with_source(page, self._output))).all()
            if last is None:
                return
            if rows:
                yield [
                    ListedVideo(_info(self._input, row), row.result_key, row.source is not None)
                    for row in rows
                ]
            after = last

    def store_sources(self, sources: Mapping[str, str]) -> None:
        rows = [
            {"in_bucket": self._output, "at": key, "source": source}
            for key, source in sources.items()
        ]
        if rows:
            with self._transaction() as connection:
                connection.execute(_SAVE_SOURCE, rows)

    def matched(self, keys: Sequence[str]) -> list[ObjectInfo]:
        videos = select(listed_video).where(
            listed_video.c.bucket == self._input, listed_video.c.key.in_(keys)
        )
        found = _with_source(videos.subquery("page"), self._output)
        with self._reading() as connection:
            rows = connection.execute(select(found).where(found.c.source == found.c.etag))
            return [_info(self._input, row) for row in rows]

    def succeed(self) -> float:
        for table, bucket in ((listed_video, self._input), (listed_result, self._output)):
            self._delete_other_buckets(table, bucket)
        with self._transaction() as connection:
            now_s = self._database.now_s(connection)
            connection.execute(_SAVE_SUCCESS, {"bucket": self._input, "finished_s": now_s})
        return now_s

    def _replace(
        self,
        table: Table,
        bucket: str,
        facts: Sequence[str],
        save: Any,
        rows: Iterator[dict[str, Any]],
    ) -> None:
        after = ""
        while batch := list(islice(rows, PAGE)):
            keys = [row["key"] for row in batch]
            for key, previous in zip(keys, [after, *keys], strict=False):
                if key < previous:
                    raise StoreMisconfigured(
                        f"the store lists {bucket} out of order ({key!r} after {previous!r}), so"
                        " the bucket cannot be compared; use a store that sorts keys by their"
                        " bytes, as S3 does"
                    )
            known = self._known(table, bucket, facts, after, keys)
            new = [row for row in batch if known.get(row["key"]) != tuple(row[x] for x in facts)]
            if new:
                with self._transaction() as connection:
                    connection.execute(save, new)
            after = keys[-1]
        self._known(table, bucket, facts, after, ())

    def _known(
        self, table: Table, bucket: str, facts: Sequence[str], after: str, keys: Sequence[str]
    ) -> dict[str, tuple[Any, ...]]:
        """The facts of the rows with these keys, which are the bucket's next keys after `after`.

        Rows between these keys are deleted, because their objects no longer exist. Without keys,
        all rows after `after` are deleted.
        """
        wanted, known = set(keys), {}
        query = select(table.c.key, *(table.c[name] for name in facts)).order_by(table.c.key)
        query = query.where(table.c.bucket == bucket).limit(_LIMIT)
        if keys:
            query = query.where(table.c.key <= keys[-1])
        while True:
            self._before_page()
            with self._reading() as connection:
                rows = connection.execute(query.where(table.c.key > after)).all()
            known.update({row.key: tuple(row[1:]) for row in rows if row.key in wanted})
            self._delete(table, bucket, [row.key for row in rows if row.key not in wanted])
            if len(rows) < PAGE:
                return known
            after = rows[-1].key

    def _delete(self, table: Table, bucket: str, keys: Sequence[str]) -> None:
        if keys:
            with self._transaction() as connection:
                connection.execute(
                    delete(table).where(table.c.bucket == bucket, table.c.key.in_(keys))
                )

    def _delete_other_buckets(self, table: Table, bucket: str) -> None:
        """Delete what an earlier setting of INPUT_BUCKET or OUTPUT_BUCKET has left."""
        # Two ranges, so that the primary key finds the rows.
        for condition in (table.c.bucket < bucket, table.c.bucket > bucket):
            query = select(table.c.bucket).where(condition).limit(1)
            while True:
                with self._reading() as connection:
                    other = connection.execute(query).scalar()
                if other is None:
                    break
                self._known(table, other, (), "", ())


def _page_of_videos(bucket: str, after: str) -> Subquery:
    return (
        select(listed_video)
        .where(listed_video.c.bucket == bucket, listed_video.c.key > after)
        .order_by(listed_video.c.key)
        .limit(_LIMIT)
        .subquery("page")
    )


def _with_source(videos: Subquery, output_bucket: str) -> Subquery:
    """The videos with the column `source`: NULL without a result, empty if it is not known."""
    # A scalar subquery and not a join, because PostgreSQL may read the whole table of results to
    # join it with a thousand videos.
    source = (
        select(func.coalesce(listed_result.c.source_etag, ""))
        .where(listed_result.c.bucket == output_bucket)
        .where(listed_result.c.key == videos.c.result_key)
        .scalar_subquery()
    )
    return select(videos, source.label("source")).subquery("found")


def _unmatched(found: Subquery) -> Select[Any]:
    return (
        select(found)
        .where(or_(found.c.source.is_(None), found.c.source != found.c.etag))
        .order_by(found.c.key)
    )


def _info(bucket: str, row: Row[Any]) -> ObjectInfo:
    return ObjectInfo(bucket, row.key, row.size_bytes, row.etag, row.version_id, row.modified_s)
