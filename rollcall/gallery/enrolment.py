"""Adding people to a gallery: which photos are good enough, and which look like somebody else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rollcall.core.errors import GalleryError, GalleryMissing, PhotoError
from rollcall.core.face_quality import measure, why_not_enrolled
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.names import checked_name, checked_new_name
from rollcall.core.protocols import FaceEngine
from rollcall.core.types import DetectedFace, Encodings, Pixels
from rollcall.gallery.gallery_formats import is_native, render_gallery
from rollcall.gallery.gallery_places import FilePlace, GalleryPlace, check_space, gallery_of

ReadPhoto = Callable[[Path], Pixels]

SAME_PICTURE = 1e-3
"""Distance below which two encodings come from the same pixels. A copy that was saved again as a
JPEG is some 0.05 away."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The gallery with the new encodings, and sentences about single photos."""

    gallery: Gallery
    added: int
    """New encodings; 0 when every good photo was there already."""
    refused: list[str] = field(default_factory=list)
    """Why a photo was not enrolled. Each sentence names the file."""
    warnings: list[str] = field(default_factory=list)
    """Doubts about photos that were enrolled."""
    notes: list[str] = field(default_factory=list)
    """Remarks about photos that are fine, for example that one was turned."""


def load_for_change(place: GalleryPlace) -> Gallery:
    """The gallery of a place, or an empty one where there is none yet.

    Raises GalleryError for the course's pickle: it is only read, never written.
    """
    try:
        return _changeable(place, place.load())
    except GalleryMissing:
        return empty_gallery()


def _changeable(place: GalleryPlace, body: bytes | None) -> Gallery:
    if body is None:
        return empty_gallery()
    if not is_native(body):
        raise GalleryError(
            f"the gallery {place} is a pickle, which is only read;"
            " make it native first: rollcall gallery convert OLD NEW.npz"
        )
    return gallery_of(place, body)


def enrol(
    gallery: Gallery,
    name: str,
    photos: Iterable[Path],
    engine: FaceEngine,
    read: ReadPhoto,
    tolerance: float,
) -> Enrolment:
    """The gallery, of the engine's encoding space, with one more encoding for each good photo.

    Raises GalleryError for a name that nobody can have, or that looks like another one, before a
    photo is looked at.
    """
    name = checked_new_name(name, gallery.people)
    return _decide(gallery, name, _look(photos, engine, read), tolerance)


def enrol_in(
    place: GalleryPlace,
    name: str,
    photos: Iterable[Path],
    engine: FaceEngine,
    read: ReadPhoto,
    tolerance: float,
) -> Enrolment:
    """Enrols into the gallery of a place, whoever else changes it meanwhile.

    Photos are looked at first, because that is slow. Who they show is then decided against the
    newest gallery. Raises as `enrol` and `load_for_change` do.
    """
    name = checked_name(name)
    seen = _look(photos, engine, read)
    decided: list[Enrolment] = []

    def change(body: bytes | None) -> bytes | None:
        gallery = check_space(place, _changeable(place, body), engine.space)
        done = _decide(gallery, name, seen, tolerance)
        decided.append(done)
        return render_gallery(done.gallery) if done.added else None

    place.change(change)
    return decided[-1]


def save(gallery: Gallery, place: GalleryPlace) -> None:
    """Replaces whatever gallery the place has."""
    place.save(render_gallery(gallery))


def convert_to(old: FilePlace, new: FilePlace, *, replace: bool = False) -> Gallery:
    """Writes the gallery of `old` in the native format to `new`, which may be the same file.

    Raises GalleryError, also where `new` has something else already, unless `replace` is set.
    """
    same = old.path.resolve() == new.path.resolve()
    converted: list[Gallery] = []

    def change(body: bytes | None) -> bytes | None:
        gallery = gallery_of(old, body if same and body is not None else old.load())
        converted.append(gallery)
        if not same and not replace and body is not None and _differs(new, body, gallery):
            raise GalleryError(
                f"{str(new)!r} exists and has other people or encodings; name a new file,"
                " or replace the file with --yes"
            )
        return render_gallery(gallery)

    new.change(change)
    return converted[-1]


def _differs(place: GalleryPlace, body: bytes, gallery: Gallery) -> bool:
    """Also where the file is not a gallery."""
    try:
        return gallery_of(place, body).version != gallery.version
    except GalleryError:
        return True


class _Seen:
    """The faces in the photos of one call, in their order."""

    def __init__(self) -> None:
        self.faces: dict[Path, Encodings] = {}
        self.refused: list[str] = []
        self.notes: list[str] = []
        self._looked_at: set[Path] = set()

    def look(self, photo: Path, engine: FaceEngine, read: ReadPhoto) -> None:
        if photo in self._looked_at:
            self.notes.append(f"{str(photo)!r} was given twice; it counts once")
            return
        self._looked_at.add(photo)
        try:
            pixels, quarters, faces = _upright(read(photo), engine)
            self.faces[photo] = _only_good_face(photo, pixels, faces, engine)
        except PhotoError as error:
            self.refused.append(str(error))
            return
        if quarters:
            self.notes.append(f"{str(photo)!r} lies on its side or head; it was turned upright")


def _look(photos: Iterable[Path], engine: FaceEngine, read: ReadPhoto) -> _Seen:
    seen = _Seen()
    for photo in photos:
        seen.look(photo, engine, read)
    return seen


def _upright(pixels: Pixels, engine: FaceEngine) -> tuple[Pixels, int, tuple[DetectedFace, ...]]:
    """The picture turned so that its faces are upright, by how many quarters, and its faces.

    The detector also finds faces on their side, so the landmarks decide: of the positions in which
    the eyes are above the mouth, the one with the best score.
    """
    found = engine.detect(pixels)
    if any(map(_is_upright, found)):
        return pixels, 0, found
    turned = [np.ascontiguousarray(np.rot90(pixels, quarters)) for quarters in range(4)]
    faces = [found, *map(engine.detect, turned[1:])]
    scores = [max((f.score for f in each if _is_upright(f)), default=0.0) for each in faces]
    best = int(np.argmax(scores))
    return turned[best], best, faces[best]


def _is_upright(face: DetectedFace) -> bool:
    """Whether the mouth is below the eyes by more than it is beside them."""
    eyes, mouth = face.landmarks[:2].mean(axis=0), face.landmarks[3:].mean(axis=0)
    beside, below = mouth - eyes
    return bool(below > abs(beside))


def _only_good_face(
    photo: Path, pixels: Pixels, faces: Sequence[DetectedFace], engine: FaceEngine
) -> Encodings:
    """Raises PhotoError, which names the photo and the reason."""
    if len(faces) != 1:
        found = "no face was" if not faces else f"{len(faces)} faces were"
        raise PhotoError(f"{found} found in {str(photo)!r}; use a photo that shows one person")
    (face,) = faces
    quality = measure(pixels, face.box, face.landmarks, face.score)
    if problem := why_not_enrolled(quality):
        raise PhotoError(f"{str(photo)!r} cannot be enrolled: {problem}")
    encoding: Encodings = engine.encode(pixels, faces)[0]
    return encoding


def _decide(gallery: Gallery, name: str, seen: _Seen, tolerance: float) -> Enrolment:
    name = checked_new_name(name, gallery.people)
    own = gallery.encodings_of(name)
    others = gallery.without(name)
    group = _largest_group([*own, *seen.faces.values()], tolerance)
    done = Enrolment(gallery, 0, list(seen.refused), [], list(seen.notes))
    kept = list(own)
    for photo, encoding in seen.faces.items():
        if kept and min(_distances(encoding, kept)) < SAME_PICTURE:
            done.notes.append(
                f"{str(photo)!r} is a picture that {name} has already; it was not added again"
            )
            continue
        if reason := _somebody_else(photo, name, encoding, group, others, tolerance, done.warnings):
            done.refused.append(reason)
            continue
        kept.append(encoding)
    for encoding in kept[len(own) :]:
        gallery = gallery.with_face(name, encoding)
    added = len(kept) - len(own)
    return Enrolment(gallery, added, done.refused, done.warnings, done.notes)


def _somebody_else(
    photo: Path,
    name: str,
    encoding: Encodings,
    group: Sequence[Encodings],
    others: Gallery,
    tolerance: float,
    warnings: list[str],
) -> str:
    """Why the photo shows another person of the gallery; else empty, and doubts become warnings.

    Being near to someone else, or far from one's own photos, is a doubt: about one in a hundred
    pairs of people is nearer than 0.6, and people change. Both together leave none, because the
    gallery itself would give that face the other name.
    """
    own = min(_distances(encoding, group), default=0.0)
    (match,) = others.nearest(encoding[None])
    far, near = own > tolerance, match is not None and match.distance <= tolerance
    if far and near and match:
        return (
            f"{str(photo)!r} cannot be enrolled: it shows {match.name}"
            f" (distance {match.distance:.2f}) rather than {name} (distance {own:.2f})"
        )
    if far:
        warnings.append(
            f"{str(photo)!r} is far from the other photos of {name} (distance {own:.2f},"
            f" tolerance {tolerance:.2f}); make sure that it shows the same person"
        )
    if near and match:
        warnings.append(
            f"{str(photo)!r}: {name} and {match.name} look alike (distance {match.distance:.2f},"
            f" tolerance {tolerance:.2f}) and may be confused"
        )
    return ""


def _largest_group(encodings: Sequence[Encodings], tolerance: float) -> list[Encodings]:
    """The most encodings that a chain of neighbours within the tolerance connects.

    Of two groups of the same size the one with the earliest encoding counts, so a person's older
    photos outweigh a new one.
    """
    left, largest = list(range(len(encodings))), list[int]()
    while left:
        group = [left.pop(0)]
        for member in group:
            near = [
                i for i in left if np.linalg.norm(encodings[i] - encodings[member]) <= tolerance
            ]
            group += near
            left = [index for index in left if index not in near]
        largest = max(largest, group, key=len)
    return [encodings[index] for index in largest]


def _distances(encoding: Encodings, others: Iterable[Encodings]) -> list[float]:
    return [float(np.linalg.norm(encoding - other)) for other in others]
