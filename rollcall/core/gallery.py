"""Named encodings, and who is nearest to a face."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rollcall.core.encoding_space import DLIB, MAX_SIZE, NAME, EncodingSpace
from rollcall.core.errors import GalleryError, NameRefused
from rollcall.core.names import checked_name, normalise_name
from rollcall.core.types import Encodings, Match

LARGEST_COMPONENT = 100.0
"""Of an encoding; real ones stay below 1. Beyond, distances would lose their digits."""

ROWS_AT_ONCE = 4096
"""Encodings that are converted at once: 4 MiB of dlib's."""

ROUGH_ERROR = 2 * float(np.finfo(np.float32).eps)
"""Bound of what rounding does to a sum of products in single precision, as a part of the largest
square, for each product (Higham, Accuracy and Stability of Numerical Algorithms, 3.1)."""


class Gallery:
    """Encodings, shape (n, size), one name for each; a person may have several.

    Raises GalleryError when names and encodings do not fit each other, or are not usable.
    """

    def __init__(
        self,
        names: Sequence[str],
        encodings: Encodings,
        space: str = DLIB.name,
        *,
        fixed_tolerance: float | None = None,
    ) -> None:
        """`space` is the name of the encoding space that all encodings belong to.

        `fixed_tolerance` replaces the tolerance that follows from the encodings.
        """
        _check(names, encodings, space)
        self.space = space
        self.fixed_tolerance = fixed_tolerance
        self.names = _checked_names(names)
        self.encodings = _frozen(encodings)
        self.people = tuple(sorted(set(self.names)))
        self._order = np.argsort(np.array(self.names, dtype=object), kind="stable")
        self._sorted_names = [self.names[index] for index in self._order]
        self._starts = _starts(self._sorted_names)
        self._rough = _rough(self.encodings, self._order)
        self._rough_squares = np.einsum("ij,ij->i", self._rough, self._rough)
        self._largest_square = float(self._rough_squares.max(initial=0.0))
        self.version = self._version()

    def __len__(self) -> int:
        return len(self.names)

    def nearest(self, encodings: Encodings) -> list[Match | None]:
        """For each encoding of shape (k, size) its nearest identity; None from an empty gallery.

        A person is as near as the nearest of their encodings. One matrix product for all:
        |a - b|^2 = |a|^2 + |b|^2 - 2ab, in single precision, which halves the memory that is read;
        what may be among the two nearest by that is then computed in double precision.
        """
        if not self.people or not len(encodings):
            return [None] * len(encodings)
        rough = encodings.astype(np.float32)
        squares = (-2.0 * rough) @ self._rough.T
        squares += self._rough_squares
        pairs = zip(encodings, squares, strict=True)
        return [self._match(encoding, row) for encoding, row in pairs]

    def with_face(self, name: str, encoding: Encodings) -> Gallery:
        """This gallery and one more encoding, shape (size,)."""
        encodings = np.vstack([self.encodings, encoding[None]])
        return Gallery((*self.names, name), encodings, self.space)

    def encodings_of(self, name: str) -> Encodings:
        """The encodings of one person, shape (n, size)."""
        wanted = normalise_name(name)
        return self.encodings[[each == wanted for each in self.names]]

    def without(self, name: str) -> Gallery:
        """This gallery without any encoding of that person."""
        gone = normalise_name(name)
        rest = [index for index, each in enumerate(self.names) if each != gone]
        return Gallery([self.names[index] for index in rest], self.encodings[rest], self.space)

    def _match(self, encoding: Encodings, squares: NDArray[np.float32]) -> Match:
        """`squares` lack |a|^2, which is the same for all."""
        near = np.flatnonzero(squares <= self._reach(encoding, squares))
        distances = np.linalg.norm(self.encodings[self._order[near]] - encoding, axis=1)
        best = int(distances.argmin())
        name, distance = self._sorted_names[near[best]], float(distances[best])
        others = [
            float(other)
            for row, other in zip(near, distances, strict=True)
            if self._sorted_names[row] != name
        ]
        return Match(name, distance, min(others, default=math.inf) - distance)

    def _reach(self, encoding: Encodings, squares: NDArray[np.float32]) -> float:
        """Up to here an encoding may belong to one of the two nearest people."""
        people = np.minimum.reduceat(squares, self._starts)
        rank = min(1, len(people) - 1)
        second = float(np.partition(people, rank)[rank])
        largest = float(encoding @ encoding) + self._largest_square
        return second + 2 * ROUGH_ERROR * len(encoding) * largest

    def _version(self) -> str:
        digest = hashlib.sha256("\x00".join(self.names).encode())
        digest.update(np.ascontiguousarray(self.encodings).data)
        return digest.hexdigest()[:16]


def _frozen(encodings: Encodings) -> Encodings:
    """A copy that nobody can change; an array that nobody can change already is not copied."""
    fits = encodings.dtype == np.float64 and encodings.flags.c_contiguous
    if fits and not encodings.flags.writeable:
        return encodings
    copy = np.array(encodings, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def _rough(encodings: Encodings, order: NDArray[np.intp]) -> NDArray[np.float32]:
    """The encodings in that order and in single precision, without a whole copy in between."""
    rough = np.empty(encodings.shape, np.float32)
    for start in range(0, len(order), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        rough[rows] = encodings[order[rows]]
    return rough


def _is_small(encodings: Encodings) -> bool:
    """Whether every component is finite and small; NaN makes both comparisons false."""
    if not encodings.size:
        return True
    return bool(encodings.min() >= -LARGEST_COMPONENT and encodings.max() <= LARGEST_COMPONENT)


def _starts(sorted_names: Sequence[str]) -> NDArray[np.intp]:
    """Where each person's encodings begin."""
    pairs = enumerate(zip(["", *sorted_names], sorted_names, strict=False))
    return np.array([i for i, (before, name) in pairs if before != name], dtype=np.intp)


def empty_gallery(space: EncodingSpace = DLIB) -> Gallery:
    """A gallery that knows nobody."""
    return Gallery((), np.empty((0, space.size)), space.name)


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """The normalised names. A name that occurs many times is checked once."""
    checked: dict[str, str] = {}
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or name not in checked:
            try:
                checked[name] = checked_name(name)
            except NameRefused as error:  # logs must not hold the name, so only its cause does
                raise GalleryError(
                    f"name {number} of the gallery cannot be used; `rollcall gallery` shows why"
                ) from error
    return tuple(checked[name] for name in names)


def _check(names: Sequence[str], encodings: Encodings, space: str) -> None:
    if not NAME.fullmatch(space):
        raise GalleryError("the gallery's encoding space has an odd name; enrol the people again")
    size = DLIB.size if space == DLIB.name else encodings.shape[-1] if encodings.ndim else 0
    if encodings.shape != (len(names), size) or not 0 < size <= MAX_SIZE:
        raise GalleryError(
            f"{len(names)} names need encodings of shape ({len(names)}, {size or 'size'}),"
            f" not {encodings.shape}"
        )
    if encodings.dtype.kind != "f" or not _is_small(encodings):
        raise GalleryError("encodings have to be finite, small numbers; enrol the person again")
