"""The gallery of known people, and the search for the person nearest to a face."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rollcall.core.encoding_space import DLIB, MAX_SIZE, NAME_FORM, EncodingSpace
from rollcall.core.errors import GalleryError, NameRefused
from rollcall.core.names import checked_name, normalise_name
from rollcall.core.types import Encodings, Match

MAX_COMPONENT = 100.0
"""Largest absolute value of a number in an encoding. The numbers of real encodings are below 1, or
slightly above. With much larger ones, distances in single precision would be too inaccurate."""

ROWS_AT_ONCE = 4096
"""Number of encodings that are converted to single precision at once. With dlib's encodings, the
copy of so many rows takes 4 MiB."""

ROUNDING_ERROR = 2 * float(np.finfo(np.float32).eps)
"""Bounds the rounding error of a dot product in single precision. For vectors a and b with n
numbers, the error is at most n (|a|^2 + |b|^2) times this constant (Higham, Accuracy and Stability
of Numerical Algorithms, 3.1)."""


class Gallery:
    """The known people: n encodings of shape (n, size), and a name for each.

    A person may have several encodings. A gallery never changes; `with_encoding` and `without`
    return a new one. `version` is a digest of names and encodings.
    """

    def __init__(
        self,
        names: Sequence[str],
        encodings: Encodings,
        space: str = DLIB.name,
        *,
        fixed_tolerance: float | None = None,
    ) -> None:
        """Raises GalleryError for names or encodings that do not match or cannot be used.

        `space` is the name of the encoding space that all encodings belong to. `fixed_tolerance` is
        used instead of a tolerance that is computed from the encodings. It is not copied to
        galleries that are made from this one.
        """
        _check(names, encodings, space)
        self.space = space
        self.fixed_tolerance = fixed_tolerance
        self.names = _checked_names(names)
        self.encodings = _frozen(encodings)
        self.people = tuple(sorted(set(self.names)))
        # For `nearest`: the encodings sorted by name, in single precision, and their squared
        # lengths.
        self._order = np.argsort(np.array(self.names, dtype=object), kind="stable")
        self._sorted_names = [self.names[index] for index in self._order]
        self._starts = _starts(self._sorted_names)
        self._single = _in_single_precision(self.encodings, self._order)
        self._squared_lengths = np.einsum("ij,ij->i", self._single, self._single)
        self._max_squared_length = float(self._squared_lengths.max(initial=0.0))
        self.version = self._version()

    def __len__(self) -> int:
        return len(self.names)

    def nearest(self, encodings: Encodings) -> list[Match | None]:
        """The nearest person to each of k encodings, shape (k, size); None in an empty gallery.

        The distance to a person is the distance to the nearest of that person's encodings.
        """
        if not self.people or not len(encodings):
            return [None] * len(encodings)
        # By |a - b|^2 = |a|^2 + |b|^2 - 2ab, one matrix product gives all distances. Single
        # precision halves the memory that is read; `_match` computes the distances of the few
        # candidates again in double precision.
        single = encodings.astype(np.float32)
        reduced = (-2.0 * single) @ self._single.T
        reduced += self._squared_lengths
        pairs = zip(encodings, reduced, strict=True)
        return [self._match(encoding, row) for encoding, row in pairs]

    def with_encoding(self, name: str, encoding: Encodings) -> Gallery:
        """A new gallery with one more encoding, of shape (size,)."""
        encodings = np.vstack([self.encodings, encoding[None]])
        return Gallery((*self.names, name), encodings, self.space)

    def encodings_of(self, name: str) -> Encodings:
        """The encodings of one person, shape (n, size)."""
        normalised = normalise_name(name)
        return self.encodings[[other == normalised for other in self.names]]

    def without(self, name: str) -> Gallery:
        """A new gallery without the encodings of this person."""
        removed = normalise_name(name)
        rest = [index for index, other in enumerate(self.names) if other != removed]
        return Gallery([self.names[index] for index in rest], self.encodings[rest], self.space)

    def _match(self, encoding: Encodings, reduced: NDArray[np.float32]) -> Match:
        """The nearest person to one encoding.

        `reduced` are the squared distances to the gallery's encodings, minus |encoding|^2. That
        term is the same for all of them, so it does not change their order.
        """
        near = np.flatnonzero(reduced <= self._candidate_limit(encoding, reduced))
        distances = np.linalg.norm(self.encodings[self._order[near]] - encoding, axis=1)
        best = int(distances.argmin())
        name, distance = self._sorted_names[near[best]], float(distances[best])
        others = [
            float(other)
            for row, other in zip(near, distances, strict=True)
            if self._sorted_names[row] != name
        ]
        return Match(name, distance, min(others, default=math.inf) - distance)

    def _candidate_limit(self, encoding: Encodings, reduced: NDArray[np.float32]) -> float:
        """The largest value in `reduced` that may belong to one of the two nearest people.

        This is the value of the second-nearest person plus the largest possible rounding error of
        two values.
        """
        by_person = np.minimum.reduceat(reduced, self._starts)
        rank = min(1, len(by_person) - 1)
        second = float(np.partition(by_person, rank)[rank])
        largest = float(encoding @ encoding) + self._max_squared_length
        return second + 2 * ROUNDING_ERROR * len(encoding) * largest

    def _version(self) -> str:
        digest = hashlib.sha256("\x00".join(self.names).encode())
        digest.update(np.ascontiguousarray(self.encodings).data)
        return digest.hexdigest()[:16]


def _frozen(encodings: Encodings) -> Encodings:
    """The encodings as a read-only array, copied only if the caller could change them."""
    usable = encodings.dtype == np.float64 and encodings.flags.c_contiguous
    if usable and not encodings.flags.writeable:
        return encodings
    copy = np.array(encodings, dtype=np.float64)
    copy.setflags(write=False)
    return copy


def _in_single_precision(encodings: Encodings, order: NDArray[np.intp]) -> NDArray[np.float32]:
    """The encodings in this order and in single precision."""
    single = np.empty(encodings.shape, np.float32)
    # Block by block, because `encodings[order]` would need memory for another copy of the gallery.
    for start in range(0, len(order), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        single[rows] = encodings[order[rows]]
    return single


def _has_usable_numbers(encodings: Encodings) -> bool:
    """Whether every number is finite and between -MAX_COMPONENT and MAX_COMPONENT."""
    if not encodings.size:
        return True
    # If one number is NaN, `min` and `max` return NaN, and both comparisons are false.
    return bool(encodings.min() >= -MAX_COMPONENT and encodings.max() <= MAX_COMPONENT)


def _starts(sorted_names: Sequence[str]) -> NDArray[np.intp]:
    """The index at which each person's encodings begin."""
    pairs = enumerate(zip(["", *sorted_names], sorted_names, strict=False))
    return np.array([i for i, (before, name) in pairs if before != name], dtype=np.intp)


def empty_gallery(space: EncodingSpace = DLIB) -> Gallery:
    """A gallery without people."""
    return Gallery((), np.empty((0, space.size)), space.name)


def _checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """The normalised names. Raises GalleryError for a name that nobody can be enrolled under."""
    checked: dict[str, str] = {}  # a name with many encodings is checked only once
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or name not in checked:
            try:
                checked[name] = checked_name(name)
            except NameRefused as error:
                # This message may be logged, so only its cause, `error`, quotes the name.
                raise GalleryError(
                    f"name {number} of the gallery cannot be used; `rollcall gallery` shows why"
                ) from error
    return tuple(checked[name] for name in names)


def _check(names: Sequence[str], encodings: Encodings, space: str) -> None:
    if not NAME_FORM.fullmatch(space):
        raise GalleryError(
            "the name of the gallery's encoding space is not valid; enrol the people again"
        )
    size = DLIB.size if space == DLIB.name else encodings.shape[-1] if encodings.ndim else 0
    if encodings.shape != (len(names), size) or not 0 < size <= MAX_SIZE:
        raise GalleryError(
            f"{len(names)} names need encodings of shape ({len(names)}, {size or 'size'}),"
            f" not {encodings.shape}"
        )
    if encodings.dtype.kind != "f" or not _has_usable_numbers(encodings):
        raise GalleryError(
            "encodings have to be finite floating-point numbers from"
            f" {-MAX_COMPONENT:g} to {MAX_COMPONENT:g}; enrol the person again"
        )
