"""Finds the face to be enrolled in each photo, or the reason why there is none.

A photo has to show exactly one face of good quality. Decision 0031 has the rules and their
measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rollcall.core.errors import PhotoError
from rollcall.core.face_quality import (
    MIN_ENROLLED_PX,
    MIN_ENROLLED_SHARPNESS,
    measure,
    why_not_enrolled,
)
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import Box, Encodings, FaceQuality, Pixels
from rollcall.core.upright import turn_upright
from rollcall.core.verdicts import new_id
from rollcall.gallery.photo_outcomes import OutcomeKind, PhotoOutcome

CutOut = Callable[[Pixels, Box], bytes]
"""Makes a small JPEG of the face in a picture."""

TURNED_UPRIGHT = "it was sideways or upside down, and was turned upright"


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that has not been read yet."""

    name: str
    """The path or the file name; it is shown in messages."""
    read: Callable[[], Pixels]
    """Raises PhotoError."""


@dataclass(frozen=True, slots=True, eq=False)
class PhotoFace:
    """The only face in a good photo."""

    photo: str
    encoding: Encodings
    """Shape (size,)."""
    quality: FaceQuality
    turned: bool
    """Whether the picture was not upright."""
    jpeg: bytes | None
    """A small picture of the face, if pictures are stored."""
    example_id: str


def find_faces(
    photos: Iterable[Photo], engine: FaceEngine, cut_out: CutOut | None = None
) -> list[PhotoFace | PhotoOutcome]:
    """The face in each photo, or why it has none that can be enrolled."""
    found: list[PhotoFace | PhotoOutcome] = []
    seen: set[str] = set()
    for photo in photos:
        if photo.name in seen:
            text = "it was given twice and counts once"
            found.append(PhotoOutcome(photo.name, True, "duplicate", text))
            continue
        seen.add(photo.name)
        found.append(_find_face(photo, engine, cut_out))
    return found


def _find_face(
    photo: Photo, engine: FaceEngine, cut_out: CutOut | None
) -> PhotoFace | PhotoOutcome:
    try:
        pixels, quarter_turns, faces = turn_upright(photo.read(), engine)
    except PhotoError as error:
        text = str(error).removeprefix(f"{photo.name!r} ")
        return PhotoOutcome(photo.name, False, "unreadable", text)
    if len(faces) != 1:
        text = "no face was" if not faces else f"{len(faces)} faces were"
        kind: OutcomeKind = "several faces" if faces else "no face"
        text += " found; use a photo that shows one person"
        return PhotoOutcome(photo.name, False, kind, text)
    (face,) = faces
    quality = measure(pixels, face.box, face.landmarks, face.score)
    if problem := why_not_enrolled(quality):
        return PhotoOutcome(photo.name, False, _problem_kind(quality), problem)
    encoding: Encodings = engine.encode(pixels, faces)[0]
    jpeg = cut_out(pixels, face.box) if cut_out else None
    return PhotoFace(photo.name, encoding, quality, bool(quarter_turns), jpeg, new_id())


def _problem_kind(quality: FaceQuality) -> OutcomeKind:
    """The kind of problem, in the order in which `why_not_enrolled` checks them."""
    if quality.size_px < MIN_ENROLLED_PX:
        return "too small"
    if quality.sharpness < MIN_ENROLLED_SHARPNESS:
        return "blurred"
    return "turned away"
