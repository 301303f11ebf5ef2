"""Stores the faces of a video beside its report, if KEEP_FACES is set.

With them, a video can be compared with another gallery without decoding a frame (`rematch.py`).
The format is `.npz`, not compressed and without a pickle: an array for each column of
`StoredFaces`, and a JSON text with the facts about the video (decision 0125). Encodings are
personal data. No other file that Rollcall writes about a video has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rollcall.core.encoding_space import MAX_SIZE, NAME_FORM, EncodingSpace, Spread
from rollcall.core.errors import PermanentError
from rollcall.core.names import normalise_name
from rollcall.core.npz_arrays import read_arrays, write_arrays
from rollcall.core.types import Encodings, Recognition
from rollcall.recognition.deciding import SearchFacts
from rollcall.recognition.face_columns import (
    MAX_JPEG_BYTES,
    NOBODY,
    PROBLEMS,
    StoredFaces,
    check_columns,
    column,
)
from rollcall.recognition.picture_book import MAX_PICTURES

__all__ = [
    "FacesUnreadable",
    "StoredFaces",
    "faces_without",
    "parse_faces",
    "render_faces",
    "stored_faces",
]

FORMAT = "rollcall-faces-1"
CONTENT_TYPE = "application/octet-stream"

MAX_FACES_BYTES = 128 << 20
"""Limit for the stored faces of one video. 100,000 faces, the most that a search finds, take 60 MB
with dlib's encodings, and 2,000 pictures take 6 MB."""

MAX_FACTS_BYTES = 4 << 20
"""Limit for the JSON text. Names make it long: there are up to 2000 people in a video."""

MAX_DISTANCE = 2.0
"""Limit for the typical distances of an encoding space."""

COLUMNS = {
    "times_s": ("<f8", 1),
    "boxes": ("<i4", 2),
    "qualities": ("<f8", 2),
    "problems": ("|u1", 1),
    "followed": ("|b1", 1),
    "rows": ("<i4", 1),
    "persons": ("<i4", 1),
    "tracks": ("<i4", 1),
    "encodings": ("<f4", 2),
    "pictured": ("<i4", 1),
}
"""The columns that are stored as they are, with dtype and number of dimensions."""

OTHERS = {
    "facts": ("|u1", 1),
    "looks_s": ("<f8", 1),
    "cuts_s": ("<f8", 1),
    "jpegs": ("|u1", 1),
    "jpeg_bytes": ("<i4", 1),
}
"""The bytes of a JSON text, the times of `SearchFacts`, and all pictures one after the other."""

FACTS = ("duration_s", "frames", "track", "tracks", "searched", "stopped_at_s")
"""The fields of `SearchFacts` that are in the JSON text."""

SPREADS = ("strangers", "same_person")
"""The fields of `EncodingSpace` that may be null."""


class FacesUnreadable(PermanentError):
    """The stored faces of a video are damaged, or were not written by Rollcall."""

    code = "stored_faces"
    status = 422


def stored_faces(recognition: Recognition, etag: str, space: EncodingSpace) -> StoredFaces:
    """The faces of one video, as they are stored."""
    sightings, coverage = recognition.sightings, recognition.coverage
    faces = [sighting.face for sighting in sightings]
    rows, encodings = _unique([face.encoding for face in faces], space.size)
    facts = SearchFacts(
        recognition.looks_s,
        recognition.cuts_s,
        recognition.duration_s,
        recognition.frames,
        coverage.track,
        coverage.tracks,
        coverage.searched,
        coverage.stopped_at_s,
    )
    measures = [(q.size_px, q.sharpness, q.turn, q.score) for q in (f.quality for f in faces)]
    return StoredFaces(
        etag=etag,
        space=space,
        facts=facts,
        names=tuple(person.name for person in recognition.people),
        times_s=np.array([sighting.time_s for sighting in sightings], np.float64),
        boxes=np.array([face.box for face in faces], np.int32).reshape(len(faces), 4),
        qualities=np.array(measures, np.float64).reshape(len(faces), 4),
        problems=np.array([PROBLEMS.index(face.problem) for face in faces], np.uint8),
        followed=np.array([sighting.followed for sighting in sightings], np.bool_),
        rows=rows,
        persons=column(recognition.persons),
        tracks=column(recognition.tracks),
        encodings=encodings,
        pictured=np.array(sorted(recognition.pictures), np.int32),
        jpegs=tuple(recognition.pictures[place] for place in sorted(recognition.pictures)),
    )


def _unique(
    found: Sequence[Encodings | None], size: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each face the row of its encoding, and the encodings.

    A followed face has the same array as the look that it was taken from.
    """
    row_of: dict[int, int] = {}
    unique: list[Encodings] = []
    rows = np.full(len(found), NOBODY, np.int32)
    for place, encoding in enumerate(found):
        if encoding is None:
            continue
        if id(encoding) not in row_of:
            row_of[id(encoding)] = len(unique)
            unique.append(encoding)
        rows[place] = row_of[id(encoding)]
    return rows, np.array(unique, np.float32).reshape(len(unique), size)


def render_faces(stored: StoredFaces) -> bytes:
    """The stored faces as bytes. Raises FacesUnreadable if they would be too large to be read."""
    facts = stored.facts
    document = {
        "format": FORMAT,
        "etag": stored.etag,
        "space": asdict(stored.space),
        "names": stored.names,
        **{name: getattr(facts, name) for name in FACTS},
    }
    columns = {name: getattr(stored, name).astype(kind) for name, (kind, _) in COLUMNS.items()}
    body = write_arrays(
        {
            **columns,
            "facts": np.frombuffer(json.dumps(document).encode(), np.uint8),
            "looks_s": np.array(facts.looks_s, np.float64),
            "cuts_s": np.array(facts.cuts_s, np.float64),
            "jpegs": np.frombuffer(b"".join(stored.jpegs), np.uint8),
            "jpeg_bytes": np.array([len(jpeg) for jpeg in stored.jpegs], np.int32),
        }
    )
    if len(body) > MAX_FACES_BYTES:
        raise FacesUnreadable(
            f"the video shows so many faces that storing them takes {len(body)} bytes, and at most"
            f" {MAX_FACES_BYTES} are stored; cut it into parts"
        )
    return body


def parse_faces(body: bytes) -> StoredFaces:
    """The stored faces in these bytes. Raises FacesUnreadable."""
    try:
        if len(body) > MAX_FACES_BYTES:
            raise ValueError(f"it has more than {MAX_FACES_BYTES} bytes")
        arrays = read_arrays(body, COLUMNS | OTHERS)
        document = _parse_facts(arrays["facts"].tobytes())
        stored = _build(arrays, document)
        check_columns(stored)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise FacesUnreadable(
            f"these are not stored faces in Rollcall's format: {error!s:.200}"
        ) from error
    return stored


def faces_without(body: bytes, name: str) -> tuple[bytes, int]:
    """The stored faces without those of a person, and the number of removed faces.

    If there are none, the bytes are returned unchanged. Raises FacesUnreadable.
    """
    stored, count = parse_faces(body).without(normalise_name(name))
    return (render_faces(stored), count) if count else (body, 0)


def has_other_encodings(body: bytes, current: bytes) -> bool:
    """Whether stored faces have an encoding that is not in the current ones of the same video.

    Raises FacesUnreadable.
    """
    known = {row.tobytes() for row in parse_faces(current).encodings}
    return any(row.tobytes() not in known for row in parse_faces(body).encodings)


def _parse_facts(text: bytes) -> Mapping[str, Any]:
    if len(text) > MAX_FACTS_BYTES:
        raise ValueError(f"the facts about the video have more than {MAX_FACTS_BYTES} bytes")
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"their format is not {FORMAT}")
    return document


def _build(arrays: Mapping[str, NDArray[Any]], document: Mapping[str, Any]) -> StoredFaces:
    numbers = {name: document[name] for name in FACTS}
    for name, value in numbers.items():
        may_lack = name == "stopped_at_s" and value is None
        if not may_lack and not (type(value) in (int, float) and 0 <= value < 1e12):
            raise ValueError(f"{name} is not a number that is possible")
    looks_s, cuts_s = (tuple(arrays[name].tolist()) for name in ("looks_s", "cuts_s"))
    names = document["names"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the names are not texts")
    return StoredFaces(
        etag=str(document["etag"]),
        space=_parse_space(document["space"]),
        facts=SearchFacts(looks_s, cuts_s, **numbers),
        names=tuple(names),
        jpegs=_split(arrays["jpegs"].tobytes(), arrays["jpeg_bytes"]),
        **{name: arrays[name] for name in COLUMNS},
    )


def _split(jpegs: bytes, sizes: NDArray[np.int32]) -> tuple[bytes, ...]:
    """The single pictures. Their sizes are checked first, because with negative sizes, many large
    pictures could share the same bytes."""
    if len(sizes) > MAX_PICTURES or ((sizes < 1) | (sizes > MAX_JPEG_BYTES)).any():
        raise ValueError("the number or the sizes of the pictures are not possible")
    ends = np.cumsum(sizes, dtype=np.int64).tolist()
    if (ends[-1] if ends else 0) != len(jpegs):
        raise ValueError("the sizes of the pictures do not match their bytes")
    return tuple(jpegs[start:end] for start, end in pairwise([0, *ends]))


def _parse_space(fields: Any) -> EncodingSpace:
    spreads = {name: fields[name] and Spread(*fields[name]) for name in SPREADS}
    space = EncodingSpace(**{**fields, **spreads})
    limits = (space.tolerance, space.same_face_distance, space.clear_margin, space.min_margin)
    distances = [*limits, *chain.from_iterable(filter(None, spreads.values()))]
    if not NAME_FORM.fullmatch(space.name) or not all(map(_is_distance, distances)):
        raise ValueError("the encoding space is not valid")
    if type(space.size) is not int or not 0 < space.size <= MAX_SIZE:
        raise ValueError("the size of the encodings is not valid")
    return space


def _is_distance(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= MAX_DISTANCE
