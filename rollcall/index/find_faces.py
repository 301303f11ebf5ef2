"""Finds everyone in all videos who looks like a face in a photo.

Distances up to the tolerance of the encoding space are accepted. A photo is compared with every
stored face, not only with one gallery, so the nearest ones come first, with a word for how sure
they are (docs/decisions/0136).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.errors import PhotoError
from rollcall.core.face_quality import Problem, measure, why_not_judged
from rollcall.core.index_types import FaceRef
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import Certainty, DetectedFace, FaceQuality, Pixels
from rollcall.core.upright import turn_upright
from rollcall.core.web_protocols import FaceSearch
from rollcall.database.database import Database
from rollcall.index.face_queries import FaceQueries, SeenFace

MAX_FOUND = 1000
"""Largest number of appearances that are returned."""

ROWS_AT_ONCE = 500


class PhotoFace(NamedTuple):
    """A face in a photo."""

    detected: DetectedFace
    quality: FaceQuality
    problem: Problem
    """Why the face cannot be compared; empty if it can."""


class FacesOfPhoto(NamedTuple):
    """A photo, turned so that its faces are upright, and its faces, the largest first."""

    pixels: Pixels
    faces: tuple[PhotoFace, ...]


class LikeFace(NamedTuple):
    """An appearance that looks like the face in the photo."""

    seen: SeenFace
    distance: float
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class FoundByPhoto:
    """The result of a search for a face of a photo."""

    faces: tuple[PhotoFace, ...]
    """All faces in the photo, the largest first."""
    chosen: int
    """The one that was searched for, counted from 0."""
    max_distance: float
    like: tuple[LikeFace, ...]
    more: bool
    """Whether there are more than those in `like`."""


def faces_of_photo(pixels: Pixels, engine: FaceEngine) -> FacesOfPhoto:
    """Find the faces in a photo, which may be sideways or upside down."""
    upright = turn_upright(pixels, engine)
    faces = [_photo_face(upright.pixels, found) for found in upright.faces]
    faces.sort(key=lambda face: -face.detected.box.area_px)
    return FacesOfPhoto(upright.pixels, tuple(faces))


def find_by_photo(
    photo: FacesOfPhoto,
    engine: FaceEngine,
    search: FaceSearch,
    database: Database,
    *,
    face: int | None = None,
    limit: int = 50,
    newest: bool = False,
) -> FoundByPhoto:
    """Find who looks like a face of the photo: the nearest first, or those of the newest videos.

    `face` is the place in `photo.faces`; without it, the largest face that can be compared is
    taken. Raises PhotoError, with a sentence about the photo, and InboxUnavailable.
    """
    chosen = _chosen(photo.faces, face)
    encodings = engine.encode(photo.pixels, [photo.faces[chosen].detected])
    max_distance = engine.space.tolerance
    limit = min(limit, MAX_FOUND)
    # The newest of all accepted faces may not be among the nearest.
    wanted = 1 + (MAX_FOUND if newest else limit)
    found = search.find(encodings, engine.space.name, max_distance, wanted)
    seen = _seen(database, [each.face for each in found])
    like = [
        LikeFace(seen[each.face], each.distance, likeness(each.distance, engine.space))
        for each in found
        if each.face in seen
    ]
    if newest:
        like.sort(key=lambda each: (-each.seen.seen.uploaded_s, each.distance))
    return FoundByPhoto(
        photo.faces, chosen, max_distance, tuple(like[:limit]), more=len(like) > limit
    )


def likeness(distance: float, space: EncodingSpace) -> Certainty:
    """How sure it is that two faces at this distance are one person."""
    if distance <= space.tolerance - space.clear_margin:
        return "clear"
    return "likely" if distance <= space.tolerance - space.clear_margin / 2 else "doubtful"


def _chosen(faces: Sequence[PhotoFace], face: int | None) -> int:
    if not faces:
        raise PhotoError("shows no face; use a photo in which the face is at least 50 pixels wide")
    if face is None:
        good = [place for place, each in enumerate(faces) if not each.problem]
        face = good[0] if good else 0
    if not 0 <= face < len(faces):
        count = f"{len(faces)} face" + ("" if len(faces) == 1 else "s")
        raise PhotoError(f"shows {count}, so there is no face {face + 1}")
    problem = faces[face].problem
    if problem == "too small":
        size_px = faces[face].quality.size_px
        raise PhotoError(f"shows a face of only {size_px} pixels; use a larger picture")
    if problem:
        raise PhotoError(f"shows a face that is {problem}; use a sharp photo from the front")
    return face


def _seen(database: Database, refs: Sequence[FaceRef]) -> dict[FaceRef, SeenFace]:
    queries = FaceQueries(database)
    seen: dict[FaceRef, SeenFace] = {}
    for start in range(0, len(refs), ROWS_AT_ONCE):
        seen |= queries.faces(refs[start : start + ROWS_AT_ONCE])
    return seen


def _photo_face(pixels: Pixels, found: DetectedFace) -> PhotoFace:
    quality = measure(pixels, found.box, found.landmarks, found.score)
    return PhotoFace(found, quality, why_not_judged(quality))
