"""Decides which faces of photos are added to a person of the gallery.

A photo is refused if its face clearly belongs to somebody else. A mere doubt is a warning. Decision
0031 has the rules and their measurements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np

from rollcall.core.gallery import Gallery
from rollcall.core.names import checked_new_name
from rollcall.core.printable import printable
from rollcall.core.types import Encodings, Match
from rollcall.core.verdicts import MAX_TEXT_CHARS, Example, FaceSource
from rollcall.gallery.photo_faces import TURNED_UPRIGHT, PhotoFace
from rollcall.gallery.photo_outcomes import Enrolment, PhotoOutcome

SAME_PICTURE = 1e-3
"""Distance below which two encodings come from the same pixels. A copy that was saved as a JPEG
again has a distance of about 0.05."""


@dataclass(frozen=True, slots=True)
class Adding:
    """How faces are added. `tolerance` is that of the gallery."""

    tolerance: float
    same_face_distance: float
    """Distance within which two faces are almost certainly the same person's."""
    who: str = ""
    """Who adds the faces, for the log and the page of the person."""
    at_s: float = 0.0


def add_faces(
    gallery: Gallery, name: str, found: Sequence[PhotoFace | PhotoOutcome], adding: Adding
) -> Enrolment:
    """The gallery with one more encoding for each good photo.

    Raises GalleryError for a name that is not allowed or that looks like another name in the
    gallery.
    """
    name = checked_new_name(name, gallery.people)
    counted = [row for row in range(len(gallery)) if not gallery.is_overruled(row)]
    enrolled = gallery.encodings[[row for row in counted if gallery.names[row] == name]]
    # Without *not* and *ignore* verdicts: somebody has said who is in the photo.
    rest = [row for row in counted if gallery.names[row] != name]
    others = Gallery([gallery.names[row] for row in rest], gallery.encodings[rest], gallery.space)
    faces = [each for each in found if isinstance(each, PhotoFace)]
    group = _largest_group([*enrolled, *(face.encoding for face in faces)], adding.tolerance)
    kept, added, outcomes = list(enrolled), list[PhotoFace](), list[PhotoOutcome]()
    for each in found:
        if isinstance(each, PhotoOutcome):
            outcomes.append(each)
            continue
        outcome = _outcome(each, name, kept, group, others, adding)
        if outcome.example_id:
            kept.append(each.encoding)
            added.append(each)
        outcomes.append(outcome)
    if added:
        encodings = np.array([face.encoding for face in added])
        gallery = gallery.with_encodings(
            name, encodings, [_example(face, adding) for face in added]
        )
    return Enrolment(name, gallery, tuple(outcomes))


def _example(face: PhotoFace, adding: Adding) -> Example:
    # File names of other systems may hold control characters or bytes that are not UTF-8.
    photo = printable(PurePath(face.photo).name)[-MAX_TEXT_CHARS:]
    return Example(face.example_id, FaceSource(photo=photo), adding.at_s, adding.who, face.quality)


def _outcome(
    face: PhotoFace,
    name: str,
    kept: Sequence[Encodings],
    group: Sequence[Encodings],
    others: Gallery,
    adding: Adding,
) -> PhotoOutcome:
    """The outcome for one face. `group` holds the person's own encodings."""
    if kept and min(_distances(face.encoding, kept)) < SAME_PICTURE:
        text = f"it is a picture that {name} already has; it was not added again"
        return PhotoOutcome(face.photo, True, "duplicate", text)
    own = min(_distances(face.encoding, group), default=0.0)
    (match,) = others.nearest(face.encoding[None])
    far_from_own = own > adding.tolerance
    other, distance = (match.name, match.distance) if match else ("", float("inf"))
    near_to_other = distance <= adding.tolerance
    if distance < SAME_PICTURE:
        text = (
            f"it is a picture of {other}; one face cannot have two names; if that is wrong, remove"
            " it there first"
        )
        return PhotoOutcome(face.photo, False, "two names", text)
    # Either fact alone is only a doubt: about one in a hundred pairs of people has a distance below
    # 0.6, and a person's face changes over the years. Both together are a reason to refuse the
    # photo, because the gallery would give this face the other name.
    if far_from_own and near_to_other:
        text = f"it shows {other} (distance {distance:.2f}) rather than {name} (distance {own:.2f})"
        return PhotoOutcome(face.photo, False, "other person", text)
    outcome = PhotoOutcome(face.photo, True, "enrolled", example_id=face.example_id)
    if face.turned:
        outcome = replace(outcome, kind="turned upright", sentence=TURNED_UPRIGHT)
    if far_from_own:
        return _far_from_own(outcome, name, own)
    return _near_to_other(outcome, name, match, adding) if match and near_to_other else outcome


def _far_from_own(outcome: PhotoOutcome, name: str, own: float) -> PhotoOutcome:
    text = (
        f"far from the other photos of {name} (distance {own:.2f}); make sure that it shows the"
        " same person"
    )
    return replace(outcome, kind="far", warning=text)


def _near_to_other(outcome: PhotoOutcome, name: str, match: Match, adding: Adding) -> PhotoOutcome:
    # Without the tolerance: it changes with the photos that are being added.
    facts = f"(distance {match.distance:.2f})"
    if match.distance <= adding.same_face_distance:
        text = (
            f"{name} and {match.name} look like one person {facts}; if they are, remove one of the"
            " two names"
        )
        return replace(outcome, kind="two names", warning=text)
    text = (
        f"{name} and {match.name} look alike {facts} and may be confused; add more photos of both"
    )
    return replace(outcome, kind="look-alike", warning=text)


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
