"""A face search that keeps all encodings of one space in memory, for the pages."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from rollcall.core.types import Encodings
from rollcall.core.web_protocols import FoundFace
from rollcall.database.database import Database
from rollcall.database.index_tables import face_block as table
from rollcall.index.face_search import (
    BLOCKS_AT_ONCE,
    MAX_FOUND,
    START,
    SqlFaceSearch,
    place_of,
    unpacked,
)
from rollcall.index.nearest_faces import NearestFaces

MAX_BYTES = 1 << 30
"""Limit for the memory of the encodings: 4 million of dlib's, which take 266 bytes each. Beyond it,
every search reads the database."""

ROWS_OF_PART = 1 << 16
"""Few rows are appended to the last part until it has so many."""

GONE = -1
"""The video of a row that was removed or replaced."""

log = logging.getLogger(__name__)


class _Part(NamedTuple):
    """Some of the rows. All rows in one array would have to be copied whenever it grows."""

    video_ids: NDArray[np.int64]
    numbers: NDArray[np.uint16]
    rows: NDArray[np.float16]

    def followed_by(self, other: _Part) -> _Part:
        parts = self.without_gone(), other
        return _Part(
            np.concatenate([part.video_ids for part in parts]),
            np.concatenate([part.numbers for part in parts]),
            np.concatenate([part.rows for part in parts]),
        )

    def without_gone(self) -> _Part:
        kept = self.video_ids != GONE
        return _Part(self.video_ids[kept], self.numbers[kept], self.rows[kept])


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
            for part in self._parts:
                nearest.look(*part)
            found = nearest.result()
            gone = self._gone({each.face.video_id for each in found})
            if not gone:
                return found
            self._mark_gone(gone)

    def _forget(self, space: str, size: int) -> None:
        self._space, self._size = space, size
        self._last = START
        """The last block that was read."""
        self._parts: list[_Part] = []
        self._videos: set[int] = set()
        """The videos in memory."""
        self._too_large = False

    def _follow(self, space: str, size: int) -> bool:
        """Read what is new in the table. Returns whether everything is in memory."""
        if (space, size) != (self._space, self._size):
            self._forget(space, size)
        while not self._too_large and (blocks := self._read(space, size, self._last)):
            ids = {block.video_id for block in blocks}
            self._mark_gone(ids & self._videos)
            self._append(_Part(*unpacked(blocks, size)))
            self._videos |= ids
            # Set last, so that the blocks are read again if there was no memory for them.
            self._last = place_of(blocks[-1])
            self._check_size()
        return not self._too_large

    def _append(self, part: _Part) -> None:
        if self._parts and len(self._parts[-1].rows) + len(part.rows) <= ROWS_OF_PART:
            part = self._parts[-1].followed_by(part)
            self._parts.pop()
        self._parts.append(part)

    def _check_size(self) -> None:
        if sum(len(part.rows) for part in self._parts) * (2 * self._size + 10) > self._max_bytes:
            log.warning(
                "the stored encodings need more than %d MB, so each search for a face reads the"
                " database",
                self._max_bytes >> 20,
            )
            self._forget(self._space, self._size)
            self._too_large = True

    def _mark_gone(self, video_ids: Collection[int]) -> None:
        """Leave the rows of these videos out of searches, and drop them once they are many."""
        self._videos.difference_update(video_ids)
        wanted = np.array(sorted(video_ids), np.int64)
        for place, part in enumerate(self._parts if len(wanted) else ()):
            part.video_ids[np.isin(part.video_ids, wanted)] = GONE
            if 4 * np.count_nonzero(part.video_ids == GONE) > len(part.rows):
                self._parts[place] = part.without_gone()
        self._parts = [part for part in self._parts if len(part.rows)]

    def _gone(self, video_ids: set[int]) -> set[int]:
        """Those of the videos that have no block of this space any more."""
        ids = sorted(video_ids)
        query = select(table.c.video_id).where(table.c.space == self._space)
        kept: set[int] = set()
        for start in range(0, len(ids), BLOCKS_AT_ONCE):
            chosen = query.where(table.c.video_id.in_(ids[start : start + BLOCKS_AT_ONCE]))
            kept |= {row.video_id for row in self._all(chosen)}
        return video_ids - kept
