"""The gallery, as the pages read it: parsed once for each version."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rollcall.core.errors import GalleryMissing
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.protocols import GalleryLocation
from rollcall.core.types import Encodings
from rollcall.gallery.gallery_locations import read_gallery
from rollcall.index.sql_index import folded

MAX_AGE_S = 1.0
"""How old the last look at the gallery may be. A page never waits for more than one look."""


class NearPerson(NamedTuple):
    """A person of the gallery, and the smallest distance to any of the person's encodings."""

    name: str
    distance: float


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

    def nearest(self, encodings: Encodings, limit: int, leave_out: str = "") -> list[NearPerson]:
        """The people nearest to any of the encodings, shape (n, size), nearest first."""
        gallery = self.gallery
        if not len(gallery) or not len(encodings):
            return []
        distances = np.min([_distances(each, gallery.encodings) for each in encodings], axis=0)
        by_name: dict[str, float] = {}
        for name, distance in zip(gallery.names, distances.tolist(), strict=True):
            if name != leave_out:
                by_name[name] = min(distance, by_name.get(name, distance))
        nearest = sorted(by_name.items(), key=lambda pair: pair[1])[:limit]
        return [NearPerson(*pair) for pair in nearest]

    def distance(self, name: str, other: str) -> float | None:
        """The smallest distance between two people; None if one of them is not in the gallery."""
        encodings, others = (self.gallery.encodings_of(each) for each in (name, other))
        if not len(encodings) or not len(others):
            return None
        return float(min(_distances(each, others).min() for each in encodings))


def _distances(encoding: Encodings, others: Encodings) -> Encodings:
    distances: Encodings = np.linalg.norm(others - encoding, axis=1)
    return distances


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
        """The gallery; an empty one if there is none. Raises GalleryError or a TransientError."""
        with self._lock:
            now = self._clock()
            if self._looked_at is None or now - self._looked_at >= MAX_AGE_S:
                self._look()
                self._looked_at = now
            return self._known

    def changed(self) -> None:
        """The next call of `current` looks at the location, because this process changed it."""
        with self._lock:
            self._looked_at = None

    def _look(self) -> None:
        try:
            stamp = self._location.stamp()
            # The stamp is read first: if a writer comes between, the next look loads again.
            if stamp != self._stamp:
                self._known = KnownGallery(read_gallery(self._location))
                self._stamp = stamp
        except GalleryMissing:
            self._known, self._stamp = KnownGallery(empty_gallery()), ""
