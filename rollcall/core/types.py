"""The value types that the parts of Rollcall exchange."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from rollcall.core.work_ids import GIVEN_ID_PREFIX, work_id_of

# numpy is slow to load, and the trigger and the worker use none of the types with arrays.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pixels: TypeAlias = "NDArray[np.uint8]"
"""An RGB picture, shape (height, width, 3)."""

Encodings: TypeAlias = "NDArray[np.float64]"
"""One encoding of shape (size,), or several of shape (n, size)."""

Landmarks: TypeAlias = "NDArray[np.float64]"
"""Five points of a face, shape (5, 2), as x and y in pixels of the picture: left eye, right eye,
tip of the nose, left and right corner of the mouth. Left and right are as in the picture."""


@dataclass(frozen=True, slots=True)
class VideoRef:
    """A video as an event names it. Fields that the event does not have are empty."""

    bucket: str
    key: str
    version_id: str = ""
    etag: str = ""
    sequencer: str = ""
    event_id: str = ""
    event_name: str = "ObjectCreated:Put"
    event_time: str = ""
    given_work_id: str = ""
    traceparent: str = ""
    """The trace that the event belongs to (W3C Trace Context); it identifies no work."""

    @property
    def work_id(self) -> str:
        """The id in answers and logs: the one that the caller gave, or a digest of `identity`."""
        return self.given_work_id or work_id_of(self.identity())

    @property
    def marked(self) -> bool:
        """Whether a field distinguishes this event from other events of the same object."""
        return bool(self.event_id or self.sequencer or self.event_time)

    def identity(self) -> str:
        """A text that is the same for all deliveries of one event, and differs between uploads."""
        # A caller that sends a work id and no event decides which calls are the same work.
        if self.given_work_id and not self.marked:
            return GIVEN_ID_PREFIX + self.given_work_id
        if self.event_id:
            return f"id:{self.event_id}"
        # Stores that send neither event id nor sequencer (moto) send at least a time. A re-delivery
        # repeats this time; a second upload of the same bytes has another time.
        parts = (self.bucket, self.key, self.etag, self.sequencer or self.event_time)
        return "object:" + json.dumps(parts)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as the store describes it."""

    bucket: str
    key: str
    size_bytes: int
    etag: str
    version_id: str = ""
    modified_s: float = 0.0
    """Unix time of the last change, in seconds; 0 if unknown."""


class SkippedUpload(NamedTuple):
    """An object of the input bucket that is not recognised, and why."""

    info: ObjectInfo
    reason: str


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """A video of the input bucket, as the reconciler listed it."""

    info: ObjectInfo
    result_key: str
    has_result: bool = False
    """Whether the output bucket had an object with this key, whichever video it was made from."""


class Box(NamedTuple):
    """A rectangle, in pixels from the picture's upper left corner.

    `right` and `bottom` are the first column and row outside the box.
    """

    top: int
    right: int
    bottom: int
    left: int

    @property
    def area_px(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of a video, upright and with square pixels.

    The pixels are valid until the next frame is requested; the decoder reuses their memory.
    """

    time_s: float
    """Time of the frame in a player, in seconds."""
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """A face that a detector found in a picture."""

    box: Box
    landmarks: Landmarks
    score: float
    """The detector's confidence, 0 to 1."""


MIN_JUDGED_PX = 32
"""Smaller faces are counted, but never named (`core/face_quality.py` shows the measurements)."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """How well a face can be judged, regardless of the person (`core/face_quality.py`)."""

    size_px: int
    """Shorter side of the face's box, in pixels of the picture."""

    sharpness: float
    """Variance of the edges divided by the variance of the grey values. Blur makes it smaller."""

    turn: float
    """Sideways distance of the nose from the middle between the eyes, divided by the distance
    between the eyes; 0 for a face that looks into the camera."""

    score: float
    """The detector's confidence, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a frame."""

    box: Box
    landmarks: Landmarks
    quality: FaceQuality
    encoding: Encodings | None
    """Shape (size,); None for a face that cannot be judged."""
    problem: str = ""
    """"too small", "blurred" or "turned"; empty for a face that can be judged."""


EXACT_DISTANCE = 1e-5
"""Largest distance between an encoding and its copy that was stored in single precision."""


@dataclass(frozen=True, slots=True)
class Match:
    """The person of the gallery who is nearest to a face."""

    name: str
    """Empty if the nearest encoding is one that somebody ignored."""
    distance: float
    margin: float
    """Distance to the second-nearest person minus `distance`; infinite if there is only one."""
    ignored: bool = False
    """Whether somebody decided that nobody needs to know who this is (`core/verdicts.py`)."""

    @property
    def is_exact(self) -> bool:
        """Whether the gallery has this very look: somebody said who it shows."""
        return self.distance <= EXACT_DISTANCE


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face in one look (a frame that was searched for faces), with the nearest person."""

    time_s: float
    face: Face
    match: Match | None
    """None if the face cannot be judged, or if nobody in the gallery can be this person."""
    followed: bool = False
    """Whether encoding and match were taken from an earlier look, because the face hardly moved."""


Certainty = Literal["", "clear", "likely", "doubtful"]
"""How sure a name is (`core/decision.py`); empty for a person without a name."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person in a video."""

    name: str
    """Empty for a person who is not in the gallery."""
    first_seen_s: float
    last_seen_s: float
    frames: int
    """Number of looks that show the person."""
    distance: float | None
    """Smallest distance to the named person, or to anybody if the name is empty; None if the
    gallery is empty."""
    intervals: tuple[tuple[float, float], ...] = ()
    """Start and end of each interval, in seconds."""
    certainty: Certainty = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a video was searched, and which faces could not be judged."""

    track: int = 1
    """Number of the video track that the result is about, counted from 1."""
    tracks: int = 1
    """Number of video tracks in the file."""
    searched: int = 1
    """Number of tracks that were searched for faces."""
    looks: int = 0
    """Number of frames of `track` that were searched for faces."""
    longest_gap_s: float = 0.0
    """Longest time between two looks."""
    faces: int = 0
    """Number of faces found in all looks. A person who is seen in ten looks counts ten times."""
    not_judged: Mapping[str, int] = field(default_factory=dict)
    """Number of faces that could not be judged, by `Face.problem`."""
    ignored: int = 0
    """Number of people who are left out of the result, because somebody ignored their faces."""
    stopped_at_s: float | None = None
    """Time at which the search stopped early, because every face there was clear; None if it did
    not stop early."""


def recognition_status(names: Sequence[str]) -> str:
    """The status of a video with these people. The name of an unknown person is empty."""
    if any(names):
        return "recognised"
    return "unknown" if names else "no_face"


@dataclass(frozen=True, slots=True)
class Recognition:
    """Everything that was recognised in one video."""

    people: tuple[Person, ...]
    sightings: tuple[Sighting, ...]
    frames: int
    """Number of frames that were searched for faces."""
    duration_s: float
    coverage: Coverage = Coverage()
    looks_s: tuple[float, ...] = ()
    """Times of all looks, in order."""
    cuts_s: tuple[float, ...] = ()
    """Times of the first frames after cuts at which everybody changed (`core/presence.py`)."""
    persons: tuple[int | None, ...] = ()
    """For each sighting, the place of its person in `people`; None for a face that cannot be
    judged."""
    tracks: tuple[int | None, ...] = ()
    """For each sighting, the number of its track (`core/voting.py`); None as in `persons`."""
    pictures: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    """Small pictures (JPEG) of some sightings, by the place in `sightings`; none unless the
    recogniser was asked for them."""
    status: str = field(init=False)
    """`recognised` if at least one person has a name, `unknown` if none has, `no_face` if there is
    nobody."""

    def __post_init__(self) -> None:
        status = recognition_status([person.name for person in self.people])
        object.__setattr__(self, "status", status)

    @property
    def end_s(self) -> float:
        """Time at which the last interval may end. The header's duration may be too short, or 0."""
        return max([self.duration_s, *self.looks_s])


@dataclass(frozen=True, slots=True)
class Student:
    """A record of the student table. Fields that the record lacks are empty."""

    name: str
    major: str = ""
    year: str = ""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Videos beyond these limits are refused."""

    seconds: float
    """Largest length (MAX_VIDEO_S)."""
    pixels: int
    """Largest width times height of a frame (MAX_VIDEO_PX)."""
