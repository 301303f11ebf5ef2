"""The search for the person nearest to a face.

Three kinds of encodings compete:

- Those of a person: enrolled photos, and faces of which somebody said that they show the person.
- Those that somebody ignored. They compete like one more person. If they win, `Match.ignored` is
  true.
- Those of which somebody said that they do *not* show a person. A face that is nearer to one of
  them than to all of the person's own encodings is not this person. The next person wins then.

If two verdicts contradict each other about the same face, only the later one counts
(`core/contradictions.py`). docs/decisions/0120 has the reasons and measurements.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollcall.core.contradictions import CountedFaces
from rollcall.core.types import EXACT_DISTANCE, Encodings, Match

ROWS_AT_ONCE = 4096
"""Number of encodings that are converted to single precision at once. With dlib's encodings, the
copy of so many rows takes 4 MiB."""

ROUNDING_ERROR = 2 * float(np.finfo(np.float32).eps)
"""Bounds the rounding error of a dot product in single precision. For vectors a and b with n
numbers, the error is at most n (|a|^2 + |b|^2) times this constant (Higham, Accuracy and Stability
of Numerical Algorithms, 3.1)."""

MAX_ATTEMPTS = 4
"""How often the nearest people are excluded by *not* verdicts before everybody is checked."""

IGNORED = ""
"""Stands for ignored faces in the list of names. No person can have an empty name."""


class Matcher:
    """Finds the nearest person. It never changes."""

    def __init__(self, names: Sequence[str], encodings: Encodings, counted: CountedFaces) -> None:
        """`encodings`, shape (n, size), are those of the people `names`; all are checked."""
        negatives = counted.negatives
        names, encodings = _competing(names, encodings, counted)
        # The encodings sorted by name, in single precision, and their squared lengths.
        self._encodings = encodings
        self._order = np.argsort(np.array(names, dtype=object), kind="stable")
        self._sorted_names = [names[index] for index in self._order]
        self._starts = _starts(self._sorted_names)
        self._single = _in_single_precision(encodings, self._order)
        self._squared_lengths = np.einsum("ij,ij->i", self._single, self._single)
        self._max_squared_length = float(self._squared_lengths.max(initial=0.0))
        self._refusals = dict(self._make_refusals(negatives))

    def nearest(self, encodings: Encodings) -> list[Match | None]:
        """The nearest person to each of k encodings, shape (k, size); None without candidates."""
        if not self._sorted_names or not len(encodings):
            return [None] * len(encodings)
        # By |a - b|^2 = |a|^2 + |b|^2 - 2ab, one matrix product gives all distances. Single
        # precision halves the memory that is read; `_match` computes the distances of the few
        # candidates again in double precision.
        single = encodings.astype(np.float32)
        reduced = (-2.0 * single) @ self._single.T
        reduced += self._squared_lengths
        pairs = zip(encodings, reduced, strict=True)
        return [self._match(encoding, row) for encoding, row in pairs]

    def excludes(self, name: str, encodings: Encodings) -> bool:
        """Whether *not* verdicts say that none of these faces is the person."""
        refusal = self._refusals.get(name)
        return refusal is not None and all(map(refusal.excludes, encodings))

    def denies(self, name: str, encodings: Sequence[Encodings]) -> bool:
        """Whether a *not* verdict about the person is about one of these very looks."""
        refusal = self._refusals.get(name)
        if refusal is None:
            return False
        looks = np.array(encodings)
        return any(
            _smallest_distance(looks, negative) <= EXACT_DISTANCE for negative in refusal.negatives
        )

    def _make_refusals(
        self, negatives: Mapping[str, Sequence[Encodings]]
    ) -> Iterator[tuple[str, _Refusal]]:
        """The negative examples of the people who have encodings."""
        for name, examples in negatives.items():
            rows = slice(
                bisect_left(self._sorted_names, name), bisect_right(self._sorted_names, name)
            )
            own = self._encodings[self._order[rows]]
            if len(own):
                yield name, _Refusal(rows, own, np.array(examples))

    def _match(self, encoding: Encodings, reduced: NDArray[np.float32]) -> Match | None:
        """The nearest person to one encoding.

        `reduced` are the squared distances to the gallery's encodings, minus |encoding|^2. That
        term is the same for all of them, so it does not change their order.
        """
        near = self._candidates(encoding, reduced)
        if self._refusals:
            near = self._without_refused(encoding, reduced, near)
            if not len(near):
                return None
        distances = np.linalg.norm(self._encodings[self._order[near]] - encoding, axis=1)
        best = int(distances.argmin())
        name, distance = self._sorted_names[near[best]], float(distances[best])
        others = [
            float(other)
            for row, other in zip(near, distances, strict=True)
            if self._sorted_names[row] != name
        ]
        margin = min(others, default=math.inf) - distance
        return Match(name, distance, margin, ignored=name == IGNORED)

    def _candidates(self, encoding: Encodings, reduced: NDArray[np.float32]) -> NDArray[np.intp]:
        """The rows that may belong to one of the two nearest people.

        The limit is the value of the second-nearest person plus the largest possible rounding error
        of two values. Excluded people have infinite values.
        """
        by_person = np.minimum.reduceat(reduced, self._starts)
        rank = min(1, len(by_person) - 1)
        second = float(np.partition(by_person, rank)[rank])
        largest = float(encoding @ encoding) + self._max_squared_length
        limit = second + 2 * ROUNDING_ERROR * len(encoding) * largest
        if math.isinf(limit):  # at most one person is left
            return np.flatnonzero(np.isfinite(reduced))
        return np.flatnonzero(reduced <= limit)

    def _without_refused(
        self, encoding: Encodings, reduced: NDArray[np.float32], near: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """The candidates after people were excluded by *not* verdicts.

        Excluded people get infinite values in `reduced`. Only candidates are checked, because most
        people are far away anyway. If several people in turn are excluded, all others are checked
        at once, so that the time has a limit.
        """
        checked: set[str] = set()
        for attempt in range(MAX_ATTEMPTS + 1):
            names = {self._sorted_names[row] for row in near} & self._refusals.keys()
            if attempt == MAX_ATTEMPTS:
                names = set(self._refusals)
            refused = [name for name in names - checked if self._refusals[name].excludes(encoding)]
            if not refused:
                break
            for name in refused:
                reduced[self._refusals[name].rows] = np.inf
            checked |= names
            near = self._candidates(encoding, reduced)
        return near


class _Refusal(NamedTuple):
    """The negative examples of a person, and the person's own encodings."""

    rows: slice
    """The rows of the person in the sorted list."""
    own: Encodings
    negatives: Encodings

    def excludes(self, encoding: Encodings) -> bool:
        """Whether the face is not this person."""
        nearest = _smallest_distance(self.own, encoding)
        return _smallest_distance(self.negatives, encoding) < nearest


def _competing(
    names: Sequence[str], encodings: Encodings, counted: CountedFaces
) -> tuple[Sequence[str], Encodings]:
    """The encodings that compete, with their names."""
    if counted.overruled:
        pairs = enumerate(zip(names, encodings, strict=True))
        kept = [row for row, (name, one) in pairs if not counted.overrules(name, one)]
        names, encodings = [names[row] for row in kept], encodings[kept]
    if counted.ignored:
        names = [*names, *[IGNORED] * len(counted.ignored)]
        encodings = np.vstack([encodings, *counted.ignored])
    return names, encodings


def _smallest_distance(rows: Encodings, encoding: Encodings) -> float:
    return float(np.linalg.norm(rows - encoding, axis=1).min())


def _in_single_precision(encodings: Encodings, order: NDArray[np.intp]) -> NDArray[np.float32]:
    """The encodings in this order and in single precision."""
    single = np.empty(encodings.shape, np.float32)
    # Block by block, because `encodings[order]` would need memory for another copy of the gallery.
    for start in range(0, len(order), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        single[rows] = encodings[order[rows]]
    return single


def _starts(sorted_names: Sequence[str]) -> NDArray[np.intp]:
    """The index at which each person's encodings begin."""
    pairs = enumerate(zip([None, *sorted_names], sorted_names, strict=False))
    return np.array([i for i, (before, name) in pairs if before != name], dtype=np.intp)
