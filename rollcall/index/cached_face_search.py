"""A face search that keeps all encodings of one space in memory, for the pages."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, tuple_

from rollcall.core.types import Encodings
from rollcall.core.web_protocols import FoundFace
from rollcall.database.database import Database
from rollcall.database.index_tables import face_block as table
from rollcall.index.face_search import BLOCKS_AT_ONCE, MAX_FOUND, SqlFaceSearch, unpacked
from rollcall.index.nearest_faces import NearestFaces

MAX_BYTES = 1 << 30
"""Limit for the memory of the encodings: 4 million of dlib's, which take 266 bytes each. Beyond it,
every search reads the database."""

GONE = -1
"""The video of a row that was removed or replaced."""

log = logging.getLogger(__name__)


class CachedFaceSearch(SqlFaceSearch):
    """A FaceSearch that answers from memory, and reads only new rows from the database.

    Other processes may write to the database: each search first reads the blocks that are newer
    than the last one that it knows, and leaves out faces of videos that are gone.
    """

    def __init__(self, database: Database, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(database)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._forget("", 0)

    def find(
        self, encodings: Encodings, space: str, max_distance: float, limit: int
    ) -> list[FoundFace]:
        with self._lock:
            if self._follow(space, encodings.shape[1]):
                return self._find_in_memory(encodings, max_distance, min(limit, MAX_FOUND))
        return super().find(encodings, space, max_distance, limit)

    def _find_in_memory(
        self, encodings: Encodings, max_distance: float, limit: int
    ) -> list[FoundFace]:
        while True:
            nearest = NearestFaces(encodings, max_distance, limit)
            count = self._count
            nearest.look(self._video_ids[:count], self._numbers[:count], self._rows[:count])
            found = nearest.result()
            gone = self._gone({each.face.video_id for each in found})
            if not gone:
                return found
            self._mark_gone(sorted(gone))

    def _forget(self, space: str, size: int) -> None:
        self._space = space
        self._last = (0, 0)
        """Version and video of the last block that was read."""
        self._count = 0
        self._too_large = False
        self._video_ids = np.empty(0, np.int64)
        self._numbers = np.empty(0, np.uint16)
        self._rows = np.empty((0, size), np.float16)

    def _follow(self, space: str, size: int) -> bool:
        """Read what is new in the table. Returns whether everything is in memory."""
        if (space, size) != (self._space, self._rows.shape[1]):
            self._forget(space, size)
        if not self._too_large and not self._count and (stored := self.spaces().get(space, 0)):
            self._make_room(stored)  # once, instead of growing several times
        while not self._too_large and (blocks := self._newer()):
            if self._count:
                self._mark_gone([block.video_id for block in blocks])
            self._append(*unpacked(blocks, size))
            # Set last, so that the blocks are read again if there was no memory for them.
            self._last = blocks[-1].version, blocks[-1].video_id
        return not self._too_large

    def _newer(self) -> Sequence[Any]:
        """The next blocks. Those that were written in one transaction have the same version."""
        order = (table.c.version, table.c.video_id)
        query = (
            select(table.c.video_id, table.c.numbers, table.c.encodings, table.c.version)
            .where(tuple_(*order) > self._last, table.c.space == self._space)
            .order_by(*order)
            .limit(BLOCKS_AT_ONCE)
        )
        return self._all(query)

    def _append(
        self, video_ids: NDArray[np.int64], numbers: NDArray[np.uint16], rows: NDArray[np.float16]
    ) -> None:
        if self._count + len(rows) > len(self._rows):
            self._make_room(len(rows))
        if self._too_large:
            return
        part = slice(self._count, self._count + len(rows))
        self._video_ids[part], self._numbers[part], self._rows[part] = video_ids, numbers, rows
        self._count += len(rows)

    def _make_room(self, more: int) -> None:
        """Drop the rows that are gone, and make the arrays a quarter larger than needed."""
        kept = self._video_ids[: self._count] != GONE
        count = int(kept.sum()) + more
        size = self._rows.shape[1]
        if count * (2 * size + 10) > self._max_bytes:
            log.warning(
                "the stored encodings need more than %d MB, so each search for a face reads the"
                " database",
                self._max_bytes >> 20,
            )
            self._forget(self._space, size)
            self._too_large = True
            return
        capacity = max(1024, count + count // 4)
        self._count = count - more
        for name in ("_video_ids", "_numbers", "_rows"):
            old = getattr(self, name)
            new = np.empty((capacity, *old.shape[1:]), old.dtype)
            new[: self._count] = old[: len(kept)][kept]
            setattr(self, name, new)

    def _mark_gone(self, video_ids: Sequence[int]) -> None:
        """Leave the rows of these videos out of searches."""
        known = self._video_ids[: self._count]
        known[np.isin(known, video_ids)] = GONE

    def _gone(self, video_ids: set[int]) -> set[int]:
        """Those of the videos that have no block of this space any more."""
        ids = sorted(video_ids)
        query = select(table.c.video_id).where(table.c.space == self._space)
        kept: set[int] = set()
        for start in range(0, len(ids), BLOCKS_AT_ONCE):
            chosen = query.where(table.c.video_id.in_(ids[start : start + BLOCKS_AT_ONCE]))
            kept |= {row.video_id for row in self._all(chosen)}
        return video_ids - kept
