"""The stored encodings of faces that somebody points at on a page."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.errors import ObjectChanged, PermanentError
from rollcall.core.face_tokens import face_token, mean_encoding
from rollcall.core.index_types import (
    AnyFaceRef,
    FaceRef,
    IndexedVideo,
    ShownFaceRef,
    UnknownFaceRef,
)
from rollcall.core.texts import storable
from rollcall.core.types import Encodings
from rollcall.core.verdicts import FaceSource, Verdict, VerdictKind
from rollcall.core.web_protocols import VideoIndex
from rollcall.corrections.video_objects import VideoObjects
from rollcall.recognition.stored_faces import StoredFaces

MAX_FACES = 200
"""Limit on the faces of one verdict. A group of unknown faces may have more; the others follow,
because they look alike."""


LOOKS = 5
"""Looks that a verdict is about, if its faces have so many. After "not Ada" about one look at a
look-alike, a third of the other looks still get the name; after five, 8 of 100 (decision 0120)."""


@dataclass(frozen=True, slots=True)
class ShownFaces:
    """The faces of one verdict."""

    faces: tuple[AnyFaceRef, ...]
    names: tuple[str, ...]
    """The name that each face has now; empty for an unknown person."""
    space: EncodingSpace
    encodings: Encodings
    """Shape (n, size); a face may have several."""
    sources: tuple[FaceSource, ...]
    """One for each encoding."""

    def verdict(self, kind: VerdictKind, name: str, who: str, id_: str) -> Verdict:
        return Verdict(id_, kind, name, self.encodings, self.sources, who, round(time.time(), 3))


@dataclass(frozen=True, slots=True)
class FacesOfVerdicts:
    """Reads stored faces."""

    index: VideoIndex
    objects: VideoObjects

    def read(self, faces: Sequence[AnyFaceRef]) -> ShownFaces:
        """The encodings of these faces.

        Raises PermanentError if none are stored. Raises ObjectChanged while a video is corrected;
        for an UnknownFaceRef, only if the correction is about this face.
        """
        chosen = tuple(dict.fromkeys(faces))[:MAX_FACES]
        if not chosen:
            raise PermanentError("choose at least one face")
        looks = max(1, LOOKS // len(chosen))
        stored: dict[int, tuple[IndexedVideo, StoredFaces]] = {}
        unknown: dict[int, dict[str, int]] = {}
        names: list[str] = []
        rows: list[Encodings] = []
        sources: list[FaceSource] = []
        for face in chosen:
            if face.video_id not in stored:
                stored[face.video_id] = self._stored(face.video_id)
            video, kept = stored[face.video_id]
            if not isinstance(face, UnknownFaceRef):
                number = _checked_number(video, kept, face)
            else:
                if face.video_id not in unknown:
                    unknown[face.video_id] = _numbers_of_unknown(kept)
                number = _number_of(video, unknown[face.video_id], face.token)
            names.append(storable(kept.names[number]))
            encodings, times_s = kept.verdict_encodings(number, looks)
            if not len(encodings):
                raise _no_encodings(video.key)
            rows.append(encodings)
            sources += [
                FaceSource("", video.bucket, video.key, video.etag, time_s) for time_s in times_s
            ]
        spaces = {kept.space for _, kept in stored.values()}
        if len(spaces) > 1:
            raise PermanentError(
                "the faces were encoded by different models; recognise the older videos again"
            )
        return ShownFaces(chosen, tuple(names), spaces.pop(), np.concatenate(rows), tuple(sources))

    def _stored(self, video_id: int) -> tuple[IndexedVideo, StoredFaces]:
        video = self.index.get(video_id)
        if video is None:
            raise PermanentError("the video is not in the index any more; reload the page")
        found = self.objects.faces(video.key) if video.kept != "none" else None
        if found is None and video.kept != "none":
            raise PermanentError(
                f"the stored faces of {video.key!r} were deleted from REPORT_BUCKET; recognise the"
                " video again"
            )
        if found is None:
            raise _no_encodings(video.key)
        if found[1].etag != video.etag:
            raise ObjectChanged(f"{video.key!r} was uploaded again; try again in a moment")
        return video, found[1]


def _checked_number(video: IndexedVideo, stored: StoredFaces, face: FaceRef | ShownFaceRef) -> int:
    """The number. During a correction, the index and the stored faces differ for a moment, so that
    a number may mean one person here and another one there."""
    person = next((each for each in video.people if each.number == face.number), None)
    if person is None:
        raise PermanentError(f"{video.key!r} does not show this face any more; reload the page")
    if isinstance(face, ShownFaceRef) and face[2:] != (person.name, person.intervals):
        raise ObjectChanged(
            f"{video.key!r} was corrected meanwhile; check the people, and try again"
        )
    if [each.name for each in video.people] != [storable(name) for name in stored.names]:
        raise ObjectChanged(f"{video.key!r} is being corrected; try again in a moment")
    return face.number


def _numbers_of_unknown(stored: StoredFaces) -> dict[str, int]:
    """The numbers of the unknown people by their tokens."""
    found: dict[str, int] = {}
    for number, name in enumerate(stored.names):
        encodings, _ = stored.appearance_encodings(number)
        if not name and len(encodings):
            found.setdefault(face_token(mean_encoding(encodings)), number)
    return found


def _number_of(video: IndexedVideo, unknown: Mapping[str, int], token: str) -> int:
    if token not in unknown:
        raise ObjectChanged(f"this face of {video.key!r} is being corrected; try again in a moment")
    return unknown[token]


def _no_encodings(key: str) -> PermanentError:
    return PermanentError(
        f"the faces of {key!r} are not stored, so this face cannot be corrected; set"
        " KEEP_FACES=encodings (or pictures) for the function, and recognise the video again"
    )
