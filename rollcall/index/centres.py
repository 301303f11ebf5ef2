"""A copy of the centres of all groups in memory, in one matrix that follows the table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select, tuple_

from rollcall.database.index_tables import unknown_group as table

MAX_BYTES = 128 << 20
"""Limit for the memory of the matrix: 262,144 centres of dlib's encodings. Beyond it, only
the centres that changed last are compared."""

GROUPS_AT_ONCE = 5000
"""Groups that are read by one query."""

BEFORE_ALL = (1 << 62, 0)
"""Larger than the version of every group."""

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
        """Read what has changed in the table. No other process may change it meanwhile."""
        limit = MAX_BYTES // (4 * self._size)
        found: list[tuple[NDArray[np.int64], Rows]] = []
        newest, before = self._version, BEFORE_ALL
        while sum(len(ids) for ids, _ in found) < limit:
            changed = self._changed(connection, before)
            if not changed:
                break
            newest, before = max(newest, changed[0].version), (changed[-1].version, changed[-1].id)
            self.forget(row.id for row in changed)
            rows = [as_rows(row.centre, self._size) for row in changed]
            ids = np.repeat([row.id for row in changed], [len(each) for each in rows])
            found.append((ids.astype(np.int64), np.concatenate(rows)))
        if found:
            self._version = newest
            # The newest rows come first, so that the oldest ones are dropped.
            self.ids = np.concatenate([*(ids for ids, _ in found), self.ids])[:limit]
            self.rows = np.concatenate([*(rows for _, rows in found), self.rows])[:limit]

    def _changed(self, connection: Connection, before: tuple[int, int]) -> Sequence[Any]:
        """The next groups that have changed, the newest first."""
        order = (table.c.version, table.c.id)
        query = (
            select(table.c.id, table.c.centre, table.c.version)
            .where(table.c.version > self._version, table.c.space == self._space)
            .where(tuple_(*order) < before)
            .order_by(*(column.desc() for column in order))
            .limit(GROUPS_AT_ONCE)
        )
        return connection.execute(query).all()

    def forget(self, ids: Iterable[int]) -> None:
        """Drop the centres of these groups."""
        kept = ~np.isin(self.ids, np.fromiter(ids, np.int64))
        if not kept.all():
            self.ids, self.rows = self.ids[kept], self.rows[kept]
