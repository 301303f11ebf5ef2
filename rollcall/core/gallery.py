"""Named encodings, and who is nearest to a face."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from rollcall.core.errors import GalleryError
from rollcall.core.types import ENCODING_SIZE, Encodings, Match

UNKNOWN = "unknown"
"""Printed for a person whom the gallery does not know, so nobody can be enrolled under it."""

MAX_NAME_CHARS = 256

LARGEST_COMPONENT = 100.0
"""Of an encoding; real ones stay below 1. Beyond, distances would lose their digits."""


class Gallery:
    """Encodings, shape (n, 128), one name for each; a person may have several.

    Raises GalleryError when names and encodings do not fit each other, or are not usable.
    """

    def __init__(self, names: Sequence[str], encodings: Encodings) -> None:
        _check(names, encodings)
        self.names = tuple(names)
        self.encodings = np.array(encodings, dtype=np.float64)
        self.encodings.setflags(write=False)
        order = np.argsort(np.array(self.names, dtype=object), kind="stable")
        self.people = tuple(sorted(set(self.names)))
        self._sorted = self.encodings[order]
        self._squares = np.einsum("ij,ij->i", self._sorted, self._sorted)
        sorted_names = [self.names[index] for index in order]
        self._starts = np.array(
            [i for i, name in enumerate(sorted_names) if i == 0 or name != sorted_names[i - 1]],
            dtype=np.intp,
        )
        self.version = self._version()

    def __len__(self) -> int:
        return len(self.names)

    def nearest(self, encodings: Encodings) -> list[Match | None]:
        """For each encoding of shape (k, 128) its nearest identity; None from an empty gallery.

        A person is as near as the nearest of their encodings. One matrix product for all:
        |a - b|^2 = |a|^2 + |b|^2 - 2ab.
        """
        if not self.people or not len(encodings):
            return [None] * len(encodings)
        squares = (-2.0 * encodings) @ self._sorted.T
        squares += self._squares
        nearest = np.minimum.reduceat(squares, self._starts, axis=1)
        nearest += np.einsum("ij,ij->i", encodings, encodings)[:, None]
        return [self._match(np.sqrt(np.maximum(row, 0.0))) for row in nearest]

    def with_face(self, name: str, encoding: Encodings) -> Gallery:
        """This gallery and one more encoding, shape (128,)."""
        return Gallery((*self.names, name), np.vstack([self.encodings, encoding[None]]))

    def _match(self, distances: Encodings) -> Match:
        best = int(distances.argmin())
        distance = float(distances[best])
        distances[best] = np.inf
        return Match(self.people[best], distance, float(distances.min()) - distance)

    def _version(self) -> str:
        digest = hashlib.sha256("\x00".join(self.names).encode())
        digest.update(self.encodings.tobytes())
        return digest.hexdigest()[:16]


def empty_gallery() -> Gallery:
    """A gallery that knows nobody."""
    return Gallery((), np.empty((0, ENCODING_SIZE)))


def _check(names: Sequence[str], encodings: Encodings) -> None:
    if encodings.ndim != 2 or encodings.shape != (len(names), ENCODING_SIZE):
        raise GalleryError(
            f"{len(names)} names need encodings of shape ({len(names)}, {ENCODING_SIZE}),"
            f" not {encodings.shape}"
        )
    if encodings.dtype.kind != "f" or not (np.abs(encodings) <= LARGEST_COMPONENT).all():
        raise GalleryError("encodings have to be finite, small numbers; enrol the person again")
    for name in names:
        check_name(name)


def check_name(name: object) -> None:
    """Raises GalleryError for a name that nobody can be enrolled under."""
    if not isinstance(name, str):
        raise GalleryError(f"a name is text, not {type(name).__name__}")
    if not name.strip() or len(name) > MAX_NAME_CHARS:
        raise GalleryError(f"a name is 1 to {MAX_NAME_CHARS} characters of text, not {name!r:.50}")
    if not name.isprintable():
        raise GalleryError(f"the name {name!r} holds control characters")
    if name == UNKNOWN:
        raise GalleryError(f"{UNKNOWN!r} stands for everyone else; choose another name")
