"""The values that the index stores about a video, and references to faces in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from rollcall.core.types import Certainty

KeptFaces = Literal["none", "encodings", "pictures"]
"""What is stored of the faces of a video (KEEP_FACES)."""


class FaceRef(NamedTuple):
    """A person in a video: the row of `video`, and the place in the report's `people`."""

    video_id: int
    number: int


class UnknownFaceRef(NamedTuple):
    """An unknown person in a video, as a page has shown the face.

    A correction may give the people of the video other numbers, but the token stays
    (`core.face_tokens`).
    """

    video_id: int
    token: str


class ShownFaceRef(NamedTuple):
    """A person in a video, as a page has shown the person: with the name and all intervals.

    If a correction changes one of them, nobody can say whom the page meant.
    """

    video_id: int
    number: int
    name: str
    intervals: tuple[tuple[float, float], ...]


AnyFaceRef = FaceRef | ShownFaceRef | UnknownFaceRef


@dataclass(frozen=True, slots=True)
class Appearance:
    """One person in one video."""

    number: int
    """Place in the report's `people`, counted from 0."""
    name: str
    """Empty for an unknown person."""
    first_s: float
    last_s: float
    frames: int
    distance: float | None
    certainty: Certainty = ""
    intervals: tuple[tuple[float, float], ...] = ()
    """Start and end of each interval, in seconds."""
    token: str = field(default="", compare=False)
    """The token of an unknown face whose encodings are stored (`core.face_tokens`), if
    `VideoIndex.get` has read the video."""

    @property
    def seconds(self) -> float:
        """Length of all intervals together."""
        return sum(end_s - start_s for start_s, end_s in self.intervals)


@dataclass(frozen=True, slots=True)
class IndexedVideo:
    """The newest result of one video. Times are Unix times, unless they are about the content."""

    bucket: str
    key: str
    etag: str
    status: str
    """`recognised`, `unknown`, `no_face` or `error`."""
    work_id: str = ""
    error_code: str = ""
    error_message: str = ""
    uploaded_s: float = 0.0
    """Time of the upload; if it is unknown, that of the recognition."""
    finished_s: float = 0.0
    """When the video was recognised, or failed."""
    duration_s: float = 0.0
    coverage: Mapping[str, Any] = field(default_factory=dict)
    """As in the report (`core.reports.coverage_document`)."""
    people: tuple[Appearance, ...] = ()
    gallery: str = ""
    """Version of the gallery that was used."""
    kept: KeptFaces = "none"
    corrected: bool = False
    """Whether a verdict has changed the result since the video was recognised."""

    @property
    def is_file(self) -> bool:
        """Whether it is a file of `rollcall recognise --index`: without a bucket, the key is the
        path. The store has neither the video nor its results, and faces are not stored."""
        return not self.bucket
