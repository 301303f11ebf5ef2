"""Finds the stored faces that are nearest to a photo, in one pass over any number of encodings.

The squared distances of a few thousand rows at a time come from one matrix product in single
precision. Rows that may be near enough are then compared in double precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rollcall.core.index_types import FaceRef
from rollcall.core.matching import ROUNDING_ERROR
from rollcall.core.types import Encodings
from rollcall.core.web_protocols import FoundFace

ROWS_AT_ONCE = 2048
"""With rows of 128 numbers, that is 1 MB in single precision, which fits into a processor's cache.
Larger parts took up to twice as long."""

MAX_KEPT = 4096
"""How many candidates are collected beyond the limit before all but the nearest are dropped."""


class NearestFaces:
    """The faces within `max_distance` of any of the queries, shape (n, size), at most `limit`."""

    def __init__(self, queries: Encodings, max_distance: float, limit: int) -> None:
        self._queries = np.ascontiguousarray(queries, np.float64)
        self._columns = np.ascontiguousarray(self._queries.T, np.float32)
        squares = np.einsum("ij,ij->i", self._queries, self._queries)
        self._squares = squares.astype(np.float32)
        self._longest = float(np.sqrt(squares.max()))
        self._max_distance = max_distance
        self._limit = limit
        self._buffer = np.empty((ROWS_AT_ONCE, self._queries.shape[1]), np.float32)
        self._found: dict[FaceRef, float] = {}

    def look(
        self, video_ids: NDArray[np.int64], numbers: NDArray[np.uint16], rows: NDArray[np.float16]
    ) -> None:
        """Compare rows, shape (m, size), with the queries. Rows with a negative id are ignored."""
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            near = start + self._may_be_near(rows[part])
            near = near[video_ids[near] >= 0]
            if near.size:
                distances = self._exact(rows[near])
                self._keep(video_ids[near], numbers[near], distances)

    def result(self) -> list[FoundFace]:
        """The nearest first."""
        found = sorted((distance, face) for face, distance in self._found.items())
        return [FoundFace(face, distance) for distance, face in found[: self._limit]]

    def _may_be_near(self, rows: NDArray[np.float16]) -> NDArray[np.intp]:
        single = self._buffer[: len(rows)]
        single[...] = rows
        squared = single @ self._columns
        squared *= -2
        squared += self._squares
        squared += np.einsum("ij,ij->i", single, single)[:, None]
        nearest = squared.min(axis=1)
        # The largest rounding error, as in `core.matching`, for the longest row that can be within
        # the distance.
        length = self._longest + self._max_distance
        slack = 4 * ROUNDING_ERROR * len(self._columns) * (self._longest + length) ** 2
        return np.flatnonzero(nearest <= self._max_distance**2 + slack)

    def _exact(self, rows: NDArray[np.float16]) -> NDArray[np.float64]:
        double = rows.astype(np.float64)
        nearest = np.full(len(rows), np.inf)
        for query in self._queries:
            np.minimum(nearest, np.linalg.norm(double - query, axis=1), out=nearest)
        return nearest

    def _keep(
        self,
        video_ids: NDArray[np.int64],
        numbers: NDArray[np.uint16],
        distances: NDArray[np.float64],
    ) -> None:
        near = distances <= self._max_distance
        columns = (video_ids[near].tolist(), numbers[near].tolist(), distances[near].tolist())
        for video_id, number, distance in zip(*columns, strict=True):
            face = FaceRef(video_id, number)
            if distance < self._found.get(face, np.inf):
                self._found[face] = distance
        if len(self._found) > self._limit + MAX_KEPT:
            self._drop_far()

    def _drop_far(self) -> None:
        kept = self.result()
        self._found = {found.face: found.distance for found in kept}
        # From now on, only faces that are at least as near can be in the result.
        self._max_distance = kept[-1].distance
