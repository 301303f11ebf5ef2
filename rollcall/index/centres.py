"""A copy of the centres of all groups in memory, in one matrix that follows the table."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from rollcall.database.index_tables import unknown_group as table

MAX_BYTES = 128 << 20
"""Limit for the memory of the matrix: 262,144 centres of dlib's encodings. Beyond it, only
the centres that changed last are compared."""

Rows = NDArray[np.float32]


def as_rows(centre: bytes, size: int) -> Rows:
    """The rows of a group's centre; none if they are of another size."""
    if len(centre) % (4 * size):
        return np.empty((0, size), np.float32)
    return np.frombuffer(centre, "<f4").reshape(-1, size)


class Centres:
    """The centres of one encoding space. Not thread-safe."""

    def __init__(self, space: str, size: int) -> None:
        self._space = space
        self._size = size
        self._version = 0
        self.ids = np.empty(0, np.int64)
        self.rows: Rows = np.empty((0, size), np.float32)

    def follow(self, connection: Connection) -> None:
        """Read what has changed in the table."""
        limit = MAX_BYTES // (4 * self._size)
        query = (
            select(table.c.id, table.c.centre, table.c.version)
            .where(table.c.version > self._version, table.c.space == self._space)
            .order_by(table.c.version.desc())
            .limit(limit)
        )
        changed = connection.execute(query).all()
        if not changed:
            return
        self._version = changed[0].version
        self.forget(row.id for row in changed)
        blocks = [(row.id, as_rows(row.centre, self._size)) for row in changed]
        ids = np.repeat([each for each, _ in blocks], [len(rows) for _, rows in blocks])
        # The newest rows come first, so that the oldest ones are dropped.
        self.ids = np.concatenate([ids.astype(np.int64), self.ids])[:limit]
        self.rows = np.concatenate([*(rows for _, rows in blocks), self.rows])[:limit]

    def forget(self, ids: Iterable[int]) -> None:
        """Drop the centres of these groups."""
        kept = ~np.isin(self.ids, np.fromiter(ids, np.int64))
        if not kept.all():
            self.ids, self.rows = self.ids[kept], self.rows[kept]
