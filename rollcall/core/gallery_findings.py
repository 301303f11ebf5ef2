"""Finds what may go wrong with a gallery: people who are confused, and photos that do not help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.face_quality import (
    MAX_ENROLLED_TURN,
    MIN_ENROLLED_PX,
    MIN_ENROLLED_SHARPNESS,
)
from rollcall.core.gallery import Gallery
from rollcall.core.tolerance import GalleryTolerance, gallery_tolerance
from rollcall.core.types import FaceQuality

MAX_ENCODINGS = 20_000
"""Largest number of encodings that are compared. The time grows with its square: these take about
10 s on one core. In a larger gallery, only the first people are compared."""

ROWS_AT_ONCE = 512

MAX_PAIRS = 10_000
"""Largest number of pairs of people that are listed; the nearest ones."""

NEAR_LIMIT = 4 / 3
"""A photo is poor if one of its measures is within this factor of the limit of enrolment."""

BINS = 60
"""Number of bars of each histogram, from 0 to twice the tolerance of the encoding space."""


class Pair(NamedTuple):
    """Two people, and the smallest distance between their encodings."""

    name: str
    other: str
    distance: float


class FarPhoto(NamedTuple):
    """A photo that is far from all others of its person."""

    name: str
    photo: str
    """Name of the file; empty if unknown."""
    distance: float
    """To the nearest other encoding of the person."""
    example_id: str


class Histogram(NamedTuple):
    """The frequency of each distance."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GalleryCheck:
    """What was found in a gallery. All lists are empty for a gallery without problems."""

    people: int
    encodings: int
    compared: int
    """Number of people who were compared with each other."""
    tolerance: GalleryTolerance
    """The one in use."""
    proposed: GalleryTolerance
    """The one that the gallery's own distances suggest."""
    two_names: list[Pair]
    """Pairs who look like one person."""
    look_alikes: list[Pair]
    """Other pairs within the tolerance, who may be confused."""
    one_photo: list[str]
    poor_photos: list[str]
    """People with several encodings, all from poor photos."""
    far_photos: list[FarPhoto]
    same_person: Histogram
    """Distances between encodings of the same person."""
    different_people: Histogram
    """Distances between encodings of different people."""

    @property
    def needs_attention(self) -> bool:
        return bool(
            self.two_names
            or self.look_alikes
            or self.one_photo
            or self.poor_photos
            or self.far_photos
        )


def check_gallery(
    gallery: Gallery, space: EncodingSpace, tolerance: float | None = None
) -> GalleryCheck:
    """Check a gallery of this space. `tolerance` is the setting; None means the gallery's own."""
    used = gallery_tolerance(gallery, space, tolerance)
    without_fixed = Gallery(
        gallery.names,
        gallery.encodings,
        gallery.space,
        examples=gallery.examples,
        verdicts=gallery.verdicts,
    )
    rows = _compared_rows(gallery)
    edges = np.linspace(0, 2 * space.tolerance, BINS + 1)
    found = _compare(gallery, rows, used.tolerance, edges)
    pairs = sorted(found.pairs, key=lambda pair: (pair.distance, pair.name, pair.other))
    is_one = [pair.distance <= space.same_face_distance for pair in pairs]
    counts = Counter(
        name for row, name in enumerate(gallery.names) if not gallery.is_overruled(row)
    )
    return GalleryCheck(
        people=len(gallery.people),
        encodings=len(gallery),
        compared=len({gallery.names[row] for row in rows}),
        tolerance=used,
        proposed=gallery_tolerance(without_fixed, space),
        two_names=[pair for pair, one in zip(pairs, is_one, strict=True) if one],
        look_alikes=[pair for pair, one in zip(pairs, is_one, strict=True) if not one],
        one_photo=[name for name in gallery.people if counts[name] == 1],
        poor_photos=_poor_people(gallery, counts),
        far_photos=sorted(found.far, key=lambda photo: -photo.distance),
        same_person=found.same_person,
        different_people=found.different_people,
    )


def is_poor(quality: FaceQuality) -> bool:
    """Whether a photo was only just good enough to be enrolled."""
    return (
        quality.size_px < MIN_ENROLLED_PX * NEAR_LIMIT
        or quality.sharpness < MIN_ENROLLED_SHARPNESS * NEAR_LIMIT
        or quality.turn > MAX_ENROLLED_TURN / NEAR_LIMIT
    )


def _poor_people(gallery: Gallery, counts: Counter[str]) -> list[str]:
    good = {
        name
        for row, (name, example) in enumerate(zip(gallery.names, gallery.examples, strict=True))
        if (example.quality is None or not is_poor(example.quality))
        and not gallery.is_overruled(row)
    }
    return [name for name in gallery.people if counts[name] > 1 and name not in good]


def _compared_rows(gallery: Gallery) -> NDArray[np.intp]:
    """The rows of the people who are compared, sorted by name. Faces that somebody gave to somebody
    else since are left out, because both people have them."""
    order = np.argsort(np.array(gallery.names, dtype=object), kind="stable")
    kept = [row for row in order if not gallery.is_overruled(int(row))]
    return np.array(kept[:MAX_ENCODINGS], np.intp)


class _Comparison(NamedTuple):
    pairs: list[Pair]
    far: list[FarPhoto]
    same_person: Histogram
    different_people: Histogram


def _compare(
    gallery: Gallery, rows: NDArray[np.intp], tolerance: float, edges: NDArray[np.float64]
) -> _Comparison:
    """Compare all encodings with each other, block by block, in single precision."""
    names = np.array([gallery.names[row] for row in rows], dtype=object)
    people, starts, owners = np.unique(names, return_index=True, return_inverse=True)
    single = gallery.encodings[rows].astype(np.float32)
    near, far = _NearPairs(len(people)), list[FarPhoto]()
    every, same = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=False):  # nobody: no start
        own = np.full(end - start, np.inf)
        for first, distances in _blocks(single[start:end]):
            same += _counts(distances, edges)
            size = len(distances)
            own[first : first + size] = np.minimum(own[first : first + size], distances.min(axis=1))
            own[first:] = np.minimum(own[first:], distances.min(axis=0))
        for index in np.flatnonzero(np.isfinite(own) & (own > tolerance)):
            far.append(_far_photo(gallery, int(rows[start + index]), float(own[index])))
    for first, distances in _blocks(single):
        every += _counts(distances, edges)
        at, column = np.nonzero(distances <= tolerance)
        one, other = owners[first + at], owners[first + column]
        differs = one != other
        near.add(one[differs], other[differs], distances[at, column][differs])
    pairs = [Pair(people[a], people[b], distance) for a, b, distance in near.nearest()]
    # The same distance may be rounded differently in a block of another size, and so be counted in
    # the next bar.
    different = np.maximum(every - same, 0)
    return _Comparison(pairs, far, Histogram(same, edges), Histogram(different, edges))


def _counts(distances: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many distances are in each bar. This is faster than `np.histogram`."""
    bars = (distances * np.float32(BINS / edges[-1])).clip(0, BINS).astype(np.uint8)
    return np.bincount(bars.ravel(), minlength=BINS + 1)[:BINS]


class _NearPairs:
    """The nearest pairs of people so far, each with its smallest distance."""

    def __init__(self, people: int) -> None:
        self._people = people
        self._keys = np.empty(0, np.int64)
        self._distances = np.empty(0, np.float32)

    def add(
        self,
        people: NDArray[np.intp],
        others: NDArray[np.intp],
        distances: NDArray[np.float32],
    ) -> None:
        keys = np.concatenate([self._keys, people.astype(np.int64) * self._people + others])
        joined = np.concatenate([self._distances, distances])
        order = np.argsort(joined, kind="stable")
        # The first occurrence of a pair is its nearest one.
        _, first = np.unique(keys[order], return_index=True)
        kept = order[np.sort(first)[:MAX_PAIRS]]
        self._keys, self._distances = keys[kept], joined[kept]

    def nearest(self) -> Iterator[tuple[int, int, float]]:
        for key, distance in zip(self._keys.tolist(), self._distances.tolist(), strict=True):
            yield key // self._people, key % self._people, distance


def _far_photo(gallery: Gallery, row: int, distance: float) -> FarPhoto:
    example = gallery.examples[row]
    return FarPhoto(gallery.names[row], example.source.photo, distance, example.id)


def _blocks(encodings: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The number of an encoding, and the distances of some encodings from it on to all from it on.

    Each pair occurs once. A distance that is not one of a pair is infinite.
    """
    squares = np.einsum("ij,ij->i", encodings, encodings)
    for start in range(0, len(encodings), ROWS_AT_ONCE):
        block, rest = encodings[start : start + ROWS_AT_ONCE], encodings[start:]
        squared = squares[start : start + len(block), None] + squares[start:] - 2 * block @ rest.T
        distances = np.sqrt(np.maximum(squared, 0))
        distances[:, : len(block)][np.tri(len(block), dtype=bool)] = np.inf
        yield start, distances
