"""Fills the index from reports and stored faces, safely while others write to both.

A correction of a video writes its report and its faces first, and then the index. So if the index
has changed since the report was read, the report may have changed too, and is read again. The ids
of a video's appearances show such a change, because every writer inserts new rows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import BindParameter, Connection, bindparam, text

from rollcall.core.errors import ObjectNotFound, PermanentError
from rollcall.database.database import Database
from rollcall.index.report_reader import Found, ReportReader, VideoWithFaces
from rollcall.index.sql_index import SqlIndex, Written

if TYPE_CHECKING:
    from rollcall.index.video_faces import VideoFaces

log = logging.getLogger(__name__)

MAX_TRIES = 5
"""How often a report is read if others change the video in the meantime."""

READERS = 2
"""Reports that are read at the same time. With the stored faces, one may take 120 MB."""

REPORTS_AT_ONCE = 10
"""Reports that are read before they are put into the index. The stored faces of a long video may
take 40 MB of memory."""

Versions = Mapping[str, tuple[int, float, int]]
"""For the key of each video in the index: its id, the time of the recognition, and the largest id
of its appearances (0 if there is none)."""


@dataclass(slots=True)
class Filled:
    """The result of `put_reports`."""

    put: int = 0
    gone: int = 0
    """Videos without a report."""
    unreadable: int = 0
    new: list[str] = field(default_factory=list)
    """The keys of the videos that were not in the index before."""

    def add(self, other: Filled) -> None:
        """Add the numbers of another result."""
        self.put += other.put
        self.gone += other.gone
        self.unreadable += other.unreadable


class IndexWriter:
    """Puts videos with their stored faces into the index."""

    def __init__(self, database: Database, reader: ReportReader) -> None:
        self._database = database
        self._reader = reader
        self._index = SqlIndex(database)
        # Loading numpy is slow, and few videos have stored faces.
        self._faces: VideoFaces | None = None
        keys: BindParameter[Any] = bindparam("keys", expanding=True)
        last = "(SELECT max(a.id) FROM appearance a WHERE a.video_id = video.id)"
        own = "FROM video WHERE bucket=:bucket AND key IN :keys"
        columns = f"key, id, finished_s, COALESCE({last}, 0)"
        self._versions = text(f"SELECT {columns} {own}").bindparams(keys)
        lock = f"SELECT id {own} ORDER BY key FOR NO KEY UPDATE"
        self._lock = text(lock).bindparams(keys) if database.shared else None

    def put_reports(self, bucket: str, keys: Sequence[str]) -> Filled:
        """Fill the index from the reports of these videos. Raises the errors of the store."""
        filled = Filled()
        ordered = sorted(set(keys))
        for start in range(0, len(ordered), REPORTS_AT_ONCE):
            self._put_some(bucket, ordered[start : start + REPORTS_AT_ONCE], filled)
        return filled

    def _put_some(self, bucket: str, keys: Sequence[str], filled: Filled) -> None:
        left = keys
        for attempt in range(MAX_TRIES):
            if left:
                before = self._versions_now(bucket, left)
                if attempt == 0:
                    filled.new += [key for key in left if key not in before]
                found = self._read(bucket, left, filled)
                left = self._put(bucket, found, before) if found else []
                filled.put += len(found) - len(left)
        if left:
            log.warning(
                "%d videos changed whenever they were indexed, so the index may lack their newest"
                " results; run `rollcall index rebuild` later",
                len(left),
            )

    def _read(self, bucket: str, keys: Sequence[str], filled: Filled) -> dict[str, Found]:
        with ThreadPoolExecutor(READERS) as pool:
            read = list(pool.map(partial(self._read_one, bucket), keys))
        filled.gone += sum(each == "gone" for each in read)
        filled.unreadable += sum(each == "unreadable" for each in read)
        return {
            key: each for key, each in zip(keys, read, strict=True) if not isinstance(each, str)
        }

    def _read_one(self, bucket: str, key: str) -> Found | str:
        try:
            return self._reader.read(bucket, key)
        except ObjectNotFound:
            return "gone"
        except PermanentError as error:
            log.warning("the report of %r is left out of the index: %s", key, error)
            return "unreadable"

    def _put(self, bucket: str, found: Mapping[str, Found], before: Versions) -> list[str]:
        """Put the videos that nobody has changed since, and return the keys of the others."""
        keys = sorted(found)

        def change(connection: Connection) -> tuple[Versions, Versions, Written]:
            # The versions are read by a statement of their own. A statement that has waited for a
            # lock sees the new row of a video, but not the new appearances.
            if self._lock is not None:
                connection.execute(self._lock, {"bucket": bucket, "keys": keys})
            now = self._read_versions(connection, bucket, keys)
            same = [key for key in keys if now.get(key) == before.get(key)]
            written = self._index.put_in(connection, [found[key].video for key in same])
            return now, self._read_versions(connection, bucket, keys), written

        now, after, written = self._database.run(change)
        keys_of = {after[key][0]: key for key in keys if key in after}
        with_faces: dict[int, VideoWithFaces] = {}
        for id_ in written.places:
            video, faces = found[keys_of[id_]]
            if faces:
                with_faces[id_] = VideoWithFaces(video, faces)
        self._index.ungroup(written.ungrouped - with_faces.keys())
        changed = {key for key in keys if now.get(key) != before.get(key)}
        return sorted(changed | self._put_faces(bucket, with_faces, after))

    def _put_faces(
        self, bucket: str, videos: Mapping[int, VideoWithFaces], versions: Versions
    ) -> set[str]:
        """Put the faces, and return the keys of the videos that others changed meanwhile."""
        if not videos:
            return set()
        if self._faces is None:
            from rollcall.index.video_faces import VideoFaces

            self._faces = VideoFaces(self._database)
        self._faces.put(videos)
        keys = [each.video.key for each in videos.values()]
        now = self._versions_now(bucket, keys)
        return {key for key in keys if now.get(key) != versions.get(key)}

    def _versions_now(self, bucket: str, keys: Sequence[str]) -> Versions:
        """Raises InboxUnavailable."""
        with self._database.reading() as connection:
            return self._read_versions(connection, bucket, keys)

    def _read_versions(self, connection: Connection, bucket: str, keys: Sequence[str]) -> Versions:
        rows = connection.execute(self._versions, {"bucket": bucket, "keys": list(keys)})
        return {key: (id_, finished_s, last_id) for key, id_, finished_s, last_id in rows}
