"""The faces in a report: one entry for each face in each look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollcall.core.names import normalise_name
from rollcall.core.types import Recognition, Sighting


def face_without(
    face: dict[str, Any], removed: str, stays: Sequence[bool]
) -> dict[str, Any] | None:
    """The face with the new place of its person; None if it is about the removed person.

    `stays` says which people stay. Reports of older versions have no persons of faces.
    """
    if normalise_name(face["nearest"] or "") == removed:
        return None
    person = face.get("person")
    if person is None:
        return face
    if type(person) is not int or not 0 <= person < len(stays):
        raise ValueError("a face has a person who is not in the report")
    return {**face, "person": sum(stays[:person])} if stays[person] else None


def faces_document(recognition: Recognition) -> list[dict[str, Any]]:
    """Every face with its time, box and quality, its person and the nearest person of the gallery.

    `person` is the place in the report's `people`; null for a face that cannot be judged.
    """
    pairs = zip(recognition.sightings, recognition.persons, strict=True)
    return [_face_document(sighting, person) for sighting, person in pairs]


def _face_document(sighting: Sighting, person: int | None) -> dict[str, Any]:
    match, quality = sighting.match, sighting.face.quality
    return {
        "time_s": round(sighting.time_s, 3),
        "box_px": sighting.face.box._asdict(),
        "person": person,
        "quality": {
            "size_px": quality.size_px,
            "sharpness": round(quality.sharpness, 4),
            "turn": round(quality.turn, 3),
            "score": round(quality.score, 3),
        },
        "not_judged": sighting.face.problem or None,
        "nearest": (match.name or None) if match else None,
        "distance": round(match.distance, 3) if match else None,
    }
