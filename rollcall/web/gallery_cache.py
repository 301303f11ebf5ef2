"""The gallery, as the pages read it: parsed once for each version."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollcall.core.errors import GalleryMissing, TransientError
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.protocols import GalleryLocation
from rollcall.core.types import Encodings
from rollcall.core.verdicts import Verdict
from rollcall.gallery.gallery_locations import read_gallery
from rollcall.index.sql_index import folded

log = logging.getLogger(__name__)

MAX_AGE_S = 1.0
"""How old the last check of the gallery may be. A page never waits for more than one check."""


class NearPerson(NamedTuple):
    """A person of the gallery, and the smallest distance to any of the person's encodings."""

    name: str
    distance: float


class _SortedRows(NamedTuple):
    """The encodings in single precision, sorted by name, without those that a later verdict gave to
    somebody else."""

    people: list[str]
    order: NDArray[np.intp]
    """The row of the gallery for each of these rows."""
    encodings: NDArray[np.float32]
    squared_lengths: NDArray[np.float32]
    starts: NDArray[np.intp]
    """Where the rows of each person begin."""


class KnownGallery:
    """A gallery with what the pages compute from it. Never changes."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery

    @cached_property
    def sorted_names(self) -> list[tuple[str, str]]:
        """The folded name and the name of everybody, sorted."""
        return sorted((folded(name), name) for name in self.gallery.people)

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.gallery.people)

    @cached_property
    def given_names(self) -> dict[tuple[str, str, str, str], Verdict]:
        """The newest verdict that a face of a video is a person: by the bucket, the key and the
        etag of the video, and the name."""
        return {
            (source.bucket, source.key, source.etag, verdict.name): verdict
            for verdict in self.gallery.verdicts
            if verdict.kind == "is"
            for source in verdict.sources
        }

    def nearest(self, encodings: Encodings, limit: int, leave_out: str = "") -> list[NearPerson]:
        """The people nearest to any of the encodings, shape (n, size), nearest first."""
        return self.nearest_to_each([encodings], limit, leave_out)[0]

    def nearest_to_each(
        self, groups: Sequence[Encodings], limit: int, leave_out: str = ""
    ) -> list[list[NearPerson]]:
        """The same for several groups of encodings, in one matrix product."""
        rows = self._rows
        if not rows.people or not any(map(len, groups)):
            return [[] for _ in groups]
        single = np.concatenate(groups).astype(np.float32)
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab
        reduced = (-2.0 * single) @ rows.encodings.T
        reduced += rows.squared_lengths
        reduced += np.einsum("ij,ij->i", single, single)[:, None]
        by_person = np.minimum.reduceat(reduced, rows.starts, axis=1)
        ends = np.cumsum([len(each) for each in groups])
        return [
            self._nearest(by_person[end - len(each) : end], each, limit, leave_out)
            for each, end in zip(groups, ends, strict=True)
        ]

    def _nearest(
        self, by_person: NDArray[np.float32], encodings: Encodings, limit: int, leave_out: str
    ) -> list[NearPerson]:
        if not len(encodings):
            return []
        smallest = by_person.min(axis=0)
        count = min(limit + 1, len(smallest))
        people = np.argpartition(smallest, count - 1)[:count]
        # Single precision is too coarse for small distances, so these few are computed again.
        found = [
            NearPerson(self._rows.people[person], _between(self._encodings(person), encodings))
            for person in people
            if self._rows.people[person] != leave_out
        ]
        return sorted(found, key=lambda each: each.distance)[:limit]

    def _encodings(self, person: int) -> Encodings:
        """The encodings of a person, given by the place in `_rows.people`."""
        starts = self._rows.starts
        end = starts[person + 1] if person + 1 < len(starts) else None
        return self.gallery.encodings[self._rows.order[starts[person] : end]]

    @cached_property
    def _rows(self) -> _SortedRows:
        """The encodings, person by person."""
        gallery = self.gallery
        by_name = np.argsort(np.array(gallery.names, dtype=object), kind="stable")
        order = np.array([row for row in by_name if not gallery.is_overruled(int(row))], np.intp)
        names = [gallery.names[row] for row in order]
        starts = [row for row, name in enumerate(names) if row == 0 or names[row - 1] != name]
        people = [names[start] for start in starts]
        encodings = gallery.encodings[order].astype(np.float32)
        lengths = np.einsum("ij,ij->i", encodings, encodings)
        return _SortedRows(people, order, encodings, lengths, np.array(starts, np.intp))

    def counting(self, name: str) -> Encodings:
        """The encodings of a person, shape (n, size), that no later verdict gave to others."""
        people = self._rows.people
        place = bisect_left(people, name)
        if people[place : place + 1] != [name]:
            return self.gallery.encodings[:0]
        return self._encodings(place)

    def distance(self, name: str, other: str) -> float | None:
        """The smallest distance between two people; None if one of them has no photo."""
        encodings, others = (self.counting(each) for each in (name, other))
        if not len(encodings) or not len(others):
            return None
        return _between(encodings, others)


def _between(encodings: Encodings, others: Encodings) -> float:
    """The smallest distance between encodings of two people."""
    return float(min(np.linalg.norm(others - each, axis=1).min() for each in encodings))


class GalleryCache:
    """Loads the gallery again when its location has other bytes. Safe to share between threads."""

    def __init__(
        self, location: GalleryLocation, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._location = location
        self._clock = clock
        self._lock = threading.Lock()
        self._known = KnownGallery(empty_gallery())
        self._stamp = ""
        self._looked_at: float | None = None

    def current(self) -> KnownGallery:
        """The gallery; an empty one if there is none, the last one if the store does not answer.

        Raises GalleryError, or a TransientError if no gallery was loaded yet.
        """
        with self._lock:
            if self._looked_at is None or self._clock() - self._looked_at >= MAX_AGE_S:
                self._look()
                # The time after the check: pages that waited for a slow one do not check again.
                self._looked_at = self._clock()
            return self._known

    def changed(self) -> None:
        """Make the next call of `current` check the location, because this process changed it."""
        with self._lock:
            self._looked_at = None

    def _look(self) -> None:
        try:
            stamp = self._location.stamp()
            # The stamp is read first: if a writer comes between, the next check loads again.
            if stamp != self._stamp:
                self._known = KnownGallery(read_gallery(self._location))
                self._stamp = stamp
        except GalleryMissing:
            self._known, self._stamp = KnownGallery(empty_gallery()), ""
        except TransientError as error:
            if not self._stamp:
                raise
            log.warning("the gallery could not be read again, the old one stays in use: %s", error)
