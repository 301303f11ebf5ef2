"""Compares the stored faces of a video with a gallery again, without decoding a frame."""

from __future__ import annotations

from rollcall.core.errors import GalleryError
from rollcall.core.gallery import Gallery
from rollcall.core.tolerance import decision_for
from rollcall.core.types import Match, Recognition
from rollcall.recognition.deciding import decide
from rollcall.recognition.stored_faces import StoredFaces

DISTANCES_AT_ONCE = 1 << 22
"""Number of distances that are computed at once; in single precision, they take 16 MiB."""


def rematched(stored: StoredFaces, gallery: Gallery, tolerance: float | None) -> Recognition:
    """Compare the stored faces of a video with the gallery.

    If `tolerance` is None, the gallery's own tolerance is used. With the gallery and tolerance of
    the first recognition, the people are exactly the same. The result has no pictures. Raises
    GalleryError for a gallery of another encoding space, and TooManyFaces.
    """
    _check_space(stored, gallery)
    decision = decision_for(gallery, tolerance, stored.space)
    return decide(stored.sightings(_matches(stored, gallery)), decision, stored.facts)


def _matches(stored: StoredFaces, gallery: Gallery) -> list[Match | None]:
    """The nearest person to each row of the encodings."""
    step = max(1, DISTANCES_AT_ONCE // max(1, len(gallery)))
    matches: list[Match | None] = []
    for start in range(0, len(stored.encodings), step):
        matches += gallery.nearest(stored.encodings[start : start + step].astype("float64"))
    return matches


def _check_space(stored: StoredFaces, gallery: Gallery) -> None:
    # An empty gallery fits every space.
    found = (gallery.space, gallery.encodings.shape[1])
    if len(gallery) and found != (stored.space.name, stored.space.size):
        raise GalleryError(
            f"the faces of this video were encoded by {stored.space.name}, and the gallery has"
            f" encodings of {gallery.space}; recognise the video again"
        )
