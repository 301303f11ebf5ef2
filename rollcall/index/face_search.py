"""Searches the stored encodings of all videos in the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, delete, func, insert, select, tuple_

from rollcall.core.encoding_space import MAX_SIZE
from rollcall.core.types import Encodings
from rollcall.core.web_protocols import FoundFace
from rollcall.database.binary_results import binary_results
from rollcall.database.database import Database
from rollcall.database.index_tables import face_block as table
from rollcall.index.nearest_faces import NearestFaces
from rollcall.index.row_versions import lock_versions

BLOCKS_AT_ONCE = 1000
"""Limit for the videos that are read in one query."""

BYTES_AT_ONCE = 16 << 20
"""Limit for their encodings, unless one video has more. A lecture may have thousands of faces."""

MAX_FOUND = 10_000
"""Largest limit of a search."""


Place = tuple[int, int]
"""The version and the video of a block. Blocks that were written in one transaction have the same
version."""

START: Place = (0, 0)

ChooseVideos = Callable[[Connection], Collection[int]]
"""Chooses videos in the transaction that writes their faces, and returns their ids."""


class FaceBlock(NamedTuple):
    """The encodings of a video's faces."""

    video_id: int
    space: str
    numbers: Sequence[int]
    """The appearance of each encoding."""
    encodings: Encodings
    """Shape (n, size)."""


class SqlFaceSearch:
    """A FaceSearch in the table `face_block`. The caller closes the database.

    A search reads the whole table in parts, so it takes little memory. For many searches, a
    `CachedFaceSearch` is faster.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, video_id: int, space: str, numbers: Sequence[int], encodings: Encodings) -> None:
        self.put_all([FaceBlock(video_id, space, numbers, encodings)])

    def put_all(self, blocks: Sequence[FaceBlock], choose: ChooseVideos | None = None) -> None:
        """Store the blocks of several videos in one transaction. The last one of a video counts.

        With `choose`, the videos that it does not return stay unchanged.
        """
        newest = {block.video_id: block for block in blocks}
        rows = [_row(block) for block in newest.values() if len(block.encodings)]

        def change(connection: Connection) -> None:
            # Videos are locked first, as when a person is removed, so that the two cannot deadlock.
            ids = newest.keys() if choose is None else choose(connection)
            version = lock_versions(self._database, connection, table)
            connection.execute(delete(table).where(table.c.video_id.in_(list(ids))))
            chosen = [row | {"version": version} for row in rows if row["video_id"] in ids]
            if chosen:
                connection.execute(insert(table), chosen)

        if newest:
            self._database.run(change)

    def find(
        self, encodings: Encodings, space: str, max_distance: float, limit: int
    ) -> list[FoundFace]:
        nearest = NearestFaces(encodings, max_distance, min(limit, MAX_FOUND))
        size = encodings.shape[1]
        # The next part is read while this one is compared, on another core.
        with ThreadPoolExecutor(1) as reader:
            blocks = self._read(space, size, START)
            while blocks:
                following = reader.submit(self._read, space, size, place_of(blocks[-1]))
                nearest.look(*unpacked(blocks, size))
                blocks = following.result()
        return nearest.result()

    def count(self) -> int:
        with self._database.reading() as connection:
            return int(connection.execute(select(func.sum(table.c.rows))).scalar_one() or 0)

    def has(self, video_id: int) -> bool:
        """Whether there are encodings of this video."""
        query = select(table.c.video_id).where(table.c.video_id == video_id)
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def spaces(self) -> dict[str, int]:
        """Number of stored encodings by encoding space."""
        query = select(table.c.space, func.sum(table.c.rows)).group_by(table.c.space)
        return {space: int(rows) for space, rows in self._all(query)}

    def _read(self, space: str, size: int, after: Place) -> Sequence[Any]:
        """The next blocks of a space, in the order in which they were written."""
        order = (table.c.version, table.c.video_id)
        later = table.c.space == space, tuple_(*order) > after
        columns = (table.c.video_id, table.c.numbers, table.c.encodings, table.c.version)
        # An index has these numbers, so the encodings of the blocks are not read twice.
        counts = select(table.c.rows, *order).where(*later).order_by(*order).limit(BLOCKS_AT_ONCE)
        ends = np.cumsum([row.rows for row in self._all(counts)]) * 2 * size
        if not len(ends):
            return ()
        count = max(1, int(np.searchsorted(ends, BYTES_AT_ONCE, "right")))
        return self._all(select(*columns).where(*later).order_by(*order).limit(count))

    def _all(self, query: Select[Any]) -> Sequence[Any]:
        with binary_results(self._database) as connection:
            return connection.execute(query).all()


def place_of(block: Any) -> Place:
    """The place of a row of the table."""
    return block.version, block.video_id


def unpacked(
    blocks: Sequence[Any], size: int
) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.float16]]:
    """The video, the appearance and the encoding of each row of the blocks.

    A block is a row of the table: id of the video, numbers, encodings. Blocks with encodings of
    another size are left out.
    """
    blocks = [block for block in blocks if len(block[2]) == len(block[1]) * size]
    numbers = np.frombuffer(b"".join([block[1] for block in blocks]), "<u2")
    rows = np.frombuffer(b"".join([block[2] for block in blocks]), "<f2").reshape(-1, size)
    counts = [len(block[1]) // 2 for block in blocks]
    video_ids = np.repeat(np.array([block[0] for block in blocks], np.int64), counts)
    return video_ids, numbers, rows


def _row(block: FaceBlock) -> dict[str, Any]:
    rows = np.asarray(block.encodings, "<f2")
    numbers = np.asarray(block.numbers, "<u2")
    if rows.ndim != 2 or not 0 < rows.shape[1] <= MAX_SIZE or len(numbers) != len(rows):
        raise ValueError(f"{len(numbers)} numbers do not fit encodings of shape {rows.shape}")
    return {
        "video_id": block.video_id,
        "space": block.space,
        "numbers": numbers.tobytes(),
        "encodings": rows.tobytes(),
        "rows": len(rows),
    }
