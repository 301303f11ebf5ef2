"""Adds a person to a gallery from photos.

A photo is refused if it does not show exactly one face of good quality, or if the face clearly
belongs to somebody else in the gallery. Decision 0031 has the rules and their measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rollcall.core.errors import GalleryError, GalleryMissing, PhotoError
from rollcall.core.face_quality import measure, why_not_enrolled
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.names import checked_name, checked_new_name
from rollcall.core.protocols import FaceEngine, GalleryLocation
from rollcall.core.types import DetectedFace, Encodings, Pixels
from rollcall.gallery.gallery_formats import is_native, render_gallery
from rollcall.gallery.gallery_locations import GalleryFile, check_space, parse_gallery_at

ReadPhoto = Callable[[Path], Pixels]

SAME_PICTURE = 1e-3
"""Distance below which two encodings come from the same pixels. A copy that was saved as a JPEG
again has a distance of about 0.05."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The gallery with the new encodings, and sentences about photos that need attention."""

    gallery: Gallery
    added: int
    """Number of new encodings; 0 if the gallery already had all good photos."""
    refused: list[str] = field(default_factory=list)
    """Reasons why photos were not enrolled. Each sentence names the file."""
    warnings: list[str] = field(default_factory=list)
    """Photos that were enrolled, but may show another person."""
    notes: list[str] = field(default_factory=list)
    """Remarks about good photos, for example that one was turned upright."""


def load_for_change(location: GalleryLocation) -> Gallery:
    """Load the gallery, or return an empty one if it does not exist yet.

    Raises GalleryError for a pickle, because pickles are only read, never written.
    """
    try:
        return _parse_for_change(location, location.load())
    except GalleryMissing:
        return empty_gallery()


def _parse_for_change(location: GalleryLocation, body: bytes | None) -> Gallery:
    if body is None:
        return empty_gallery()
    if not is_native(body):
        raise GalleryError(
            f"the gallery {location} is a pickle, which can only be read;"
            " convert it first: rollcall gallery convert OLD NEW.npz"
        )
    return parse_gallery_at(location, body)


def enrol(
    gallery: Gallery,
    name: str,
    photos: Iterable[Path],
    engine: FaceEngine,
    read: ReadPhoto,
    tolerance: float,
) -> Enrolment:
    """Return the gallery with one more encoding for each good photo.

    The gallery must belong to the engine's encoding space. Raises GalleryError, before any photo is
    read, for a name that is not allowed or that looks like another name in the gallery.
    """
    name = checked_new_name(name, gallery.people)
    return _add_faces(gallery, name, _find_faces(photos, engine, read), tolerance)


def enrol_in(
    location: GalleryLocation,
    name: str,
    photos: Iterable[Path],
    engine: FaceEngine,
    read: ReadPhoto,
    tolerance: float,
) -> Enrolment:
    """Enrol into a stored gallery, which other commands may change at the same time.

    Raises as `enrol` and `load_for_change` do.
    """
    name = checked_name(name)
    # Finding faces takes seconds, so it is done once and without a lock. The faces are compared
    # with the gallery inside `change`, which may run several times, each time on the newest bytes.
    faces = _find_faces(photos, engine, read)
    enrolments: list[Enrolment] = []

    def change(body: bytes | None) -> bytes | None:
        gallery = check_space(location, _parse_for_change(location, body), engine.space)
        enrolment = _add_faces(gallery, name, faces, tolerance)
        enrolments.append(enrolment)
        return render_gallery(enrolment.gallery) if enrolment.added else None

    location.update(change)
    return enrolments[-1]


def save(gallery: Gallery, location: GalleryLocation) -> None:
    """Write the gallery, whatever the location holds now."""
    location.save(render_gallery(gallery))


def convert_gallery(old: GalleryFile, new: GalleryFile, *, replace: bool = False) -> Gallery:
    """Write the gallery of `old` to `new` in the native format. Both may be the same file.

    Raises GalleryError if `old` cannot be read, or if `new` holds something else and `replace` is
    False.
    """
    same = old.path.resolve() == new.path.resolve()
    converted: list[Gallery] = []

    def change(body: bytes | None) -> bytes | None:
        gallery = parse_gallery_at(old, body if same and body is not None else old.load())
        converted.append(gallery)
        if not same and not replace and body is not None and _differs(new, body, gallery):
            raise GalleryError(
                f"{str(new)!r} exists and has other people or encodings; name a new file,"
                " or replace the file with --yes"
            )
        return render_gallery(gallery)

    new.update(change)
    return converted[-1]


def _differs(location: GalleryLocation, body: bytes, gallery: Gallery) -> bool:
    """Whether the bytes are another gallery, or not a gallery at all."""
    try:
        return parse_gallery_at(location, body).version != gallery.version
    except GalleryError:
        return True


@dataclass(frozen=True, slots=True)
class _PhotoFaces:
    """The encodings of the good photos, in order. `refused` and `notes` are as in `Enrolment`."""

    encodings: dict[Path, Encodings] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _find_faces(photos: Iterable[Path], engine: FaceEngine, read: ReadPhoto) -> _PhotoFaces:
    result = _PhotoFaces()
    seen: set[Path] = set()
    for photo in photos:
        if photo in seen:
            result.notes.append(f"{str(photo)!r} was given twice; it counts once")
            continue
        seen.add(photo)
        try:
            pixels, quarter_turns, faces = _turn_upright(read(photo), engine)
            result.encodings[photo] = _encode_only_face(photo, pixels, faces, engine)
        except PhotoError as error:
            result.refused.append(str(error))
            continue
        if quarter_turns:
            result.notes.append(
                f"{str(photo)!r} was sideways or upside down; it was turned upright"
            )
    return result


def _turn_upright(
    pixels: Pixels, engine: FaceEngine
) -> tuple[Pixels, int, tuple[DetectedFace, ...]]:
    """Turn the picture so that its faces are upright.

    Returns the picture, the number of quarter turns (counter-clockwise), and the faces in it.
    """
    faces = engine.detect(pixels)
    if any(map(_is_upright, faces)):
        return pixels, 0, faces
    # The detector also finds faces that lie on their side, so finding a face does not prove that
    # the picture is upright. Take the position in which a face with its eyes above its mouth has
    # the best score.
    turned = [np.ascontiguousarray(np.rot90(pixels, quarters)) for quarters in range(4)]
    found = [faces, *map(engine.detect, turned[1:])]
    scores = [max((f.score for f in each if _is_upright(f)), default=0.0) for each in found]
    best = int(np.argmax(scores))
    return turned[best], best, found[best]


def _is_upright(face: DetectedFace) -> bool:
    """Whether the mouth is further below the eyes than it is to their side."""
    eyes, mouth = face.landmarks[:2].mean(axis=0), face.landmarks[3:].mean(axis=0)
    sideways, downwards = mouth - eyes
    return bool(downwards > abs(sideways))


def _encode_only_face(
    photo: Path, pixels: Pixels, faces: Sequence[DetectedFace], engine: FaceEngine
) -> Encodings:
    """Return the encoding, shape (size,), of the only face in the photo.

    Raises PhotoError, with the file and the reason, if there are more or fewer faces, or if the
    face is too small, blurred or turned.
    """
    if len(faces) != 1:
        found = "no face was" if not faces else f"{len(faces)} faces were"
        raise PhotoError(f"{found} found in {str(photo)!r}; use a photo that shows one person")
    (face,) = faces
    quality = measure(pixels, face.box, face.landmarks, face.score)
    if problem := why_not_enrolled(quality):
        raise PhotoError(f"{str(photo)!r} cannot be enrolled: {problem}")
    encoding: Encodings = engine.encode(pixels, faces)[0]
    return encoding


def _add_faces(gallery: Gallery, name: str, faces: _PhotoFaces, tolerance: float) -> Enrolment:
    name = checked_new_name(name, gallery.people)
    enrolled = gallery.encodings_of(name)
    others = gallery.without(name)
    group = _largest_group([*enrolled, *faces.encodings.values()], tolerance)
    result = Enrolment(gallery, 0, list(faces.refused), [], list(faces.notes))
    kept = list(enrolled)
    for photo, encoding in faces.encodings.items():
        if kept and min(_distances(encoding, kept)) < SAME_PICTURE:
            result.notes.append(
                f"{str(photo)!r} is a picture that {name} already has; it was not added again"
            )
            continue
        warnings = result.warnings
        if reason := _why_refused(photo, name, encoding, group, others, tolerance, warnings):
            result.refused.append(reason)
            continue
        kept.append(encoding)
    for encoding in kept[len(enrolled) :]:
        gallery = gallery.with_encoding(name, encoding)
    added = len(kept) - len(enrolled)
    return Enrolment(gallery, added, result.refused, result.warnings, result.notes)


def _why_refused(
    photo: Path,
    name: str,
    encoding: Encodings,
    group: Sequence[Encodings],
    others: Gallery,
    tolerance: float,
    warnings: list[str],
) -> str:
    """Return why the photo shows somebody else and cannot be enrolled; empty if it can be.

    `group` holds the person's own encodings. A mere doubt is appended to `warnings`.
    """
    own_distance = min(_distances(encoding, group), default=0.0)
    (match,) = others.nearest(encoding[None])
    far_from_own = own_distance > tolerance
    near_to_other = match is not None and match.distance <= tolerance
    # Either fact alone is only a doubt: about one in a hundred pairs of people has a distance below
    # 0.6, and a person's face changes over the years. Both together are a reason to refuse the
    # photo, because the gallery would give this face the other name.
    if far_from_own and near_to_other and match:
        return (
            f"{str(photo)!r} cannot be enrolled: it shows {match.name}"
            f" (distance {match.distance:.2f}) rather than {name} (distance {own_distance:.2f})"
        )
    if far_from_own:
        warnings.append(
            f"{str(photo)!r} is far from the other photos of {name} (distance {own_distance:.2f},"
            f" tolerance {tolerance:.2f}); make sure that it shows the same person"
        )
    if near_to_other and match:
        warnings.append(
            f"{str(photo)!r}: {name} and {match.name} look alike (distance {match.distance:.2f},"
            f" tolerance {tolerance:.2f}) and may be confused"
        )
    return ""


def _largest_group(encodings: Sequence[Encodings], tolerance: float) -> list[Encodings]:
    """Return the largest group of encodings in which each is within the tolerance of another one.

    A wrong photo among good ones is left out, so it does not make the good ones look far away. If
    two groups have the same size, the group with the earliest encoding is returned: photos that
    were enrolled earlier outweigh new ones.
    """
    remaining, largest = list(range(len(encodings))), list[int]()
    while remaining:
        group = [remaining.pop(0)]
        for member in group:  # grows while it is iterated
            near = [
                index
                for index in remaining
                if np.linalg.norm(encodings[index] - encodings[member]) <= tolerance
            ]
            group += near
            remaining = [index for index in remaining if index not in near]
        largest = max(largest, group, key=len)
    return [encodings[index] for index in largest]


def _distances(encoding: Encodings, others: Iterable[Encodings]) -> list[float]:
    return [float(np.linalg.norm(encoding - other)) for other in others]
