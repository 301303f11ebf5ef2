"""The values that pass between the parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rollcall.core.work_ids import GIVEN_ID, work_id_of

Pixels = NDArray[np.uint8]
Encodings = NDArray[np.float64]
Landmarks = NDArray[np.float64]
"""Shape (5, 2), x and y in pixels of the picture: the eye on the left of the picture, the eye on
the right, the tip of the nose, the left and the right corner of the mouth."""


@dataclass(frozen=True, slots=True)
class VideoRef:
    """A video that an event speaks of. What is unknown is empty."""

    bucket: str
    key: str
    version_id: str = ""
    etag: str = ""
    sequencer: str = ""
    event_id: str = ""
    event_name: str = "ObjectCreated:Put"
    event_time: str = ""
    given_work_id: str = ""

    @property
    def work_id(self) -> str:
        """The caller's id for this work, or else one made of the identity."""
        return self.given_work_id or work_id_of(self.identity())

    @property
    def marked(self) -> bool:
        """Whether two events of one object can be told apart."""
        return bool(self.event_id or self.sequencer or self.event_time)

    def identity(self) -> str:
        """Equal for two deliveries of one event, different for two uploads.

        Stores without event id and sequencer (moto) leave the event's time to tell two uploads of
        the same bytes apart; a re-delivery repeats it. A caller that names its work decides itself.
        """
        if self.given_work_id and not self.marked:
            return GIVEN_ID + self.given_work_id
        if self.event_id:
            return f"id:{self.event_id}"
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
    """Unix time of the last change."""


class Box(NamedTuple):
    """Pixels from the frame's upper left corner; right and bottom are outside."""

    top: int
    right: int
    bottom: int
    left: int

    @property
    def area_px(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of a video: RGB, shape (height, width, 3), upright.

    The pixels are good until the next frame is asked for.
    """

    time_s: float
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """Where a face is in a picture."""

    box: Box
    landmarks: Landmarks
    score: float
    """The detector's confidence, 0 to 1."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """How well a face can be judged, independent of who it is."""

    size_px: int
    """Shorter side of the face's box, in pixels of the picture it was found in."""

    sharpness: float
    """Energy of the edges over that of the grey values; blur makes it smaller."""

    turn: float
    """Sideways distance of the nose from the middle of the eyes, in distances between the eyes:
    0 for a face that looks into the camera."""

    score: float
    """The detector's confidence, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face in a frame. `encoding`, shape (n,), is None for a face that cannot be judged."""

    box: Box
    landmarks: Landmarks
    quality: FaceQuality
    encoding: Encodings | None
    problem: str = ""
    """Why the face cannot be judged: "too small", "blurred" or "turned"; empty if it can be."""


@dataclass(frozen=True, slots=True)
class Match:
    """The nearest identity of the gallery."""

    name: str
    distance: float
    margin: float
    """Second-best identity's distance minus the best's; infinite when there is one identity."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A face at a time, and whom it is nearest to (nobody, when the gallery is empty)."""

    time_s: float
    face: Face
    match: Match | None
    followed: bool = False
    """Whether encoding and match are those of an earlier look, because the face hardly moved."""


Certainty = Literal["", "clear", "likely", "doubtful"]
"""How sure a name is; empty for a person without a name."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone in a video. `name` is empty for a person that the gallery does not know."""

    name: str
    first_seen_s: float
    last_seen_s: float
    frames: int
    """How many looks showed them."""
    distance: float | None
    intervals: tuple[tuple[float, float], ...] = ()
    """Start and end of each, in seconds."""
    certainty: Certainty = ""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The looks at a video, and the faces that could not be judged."""

    track: int = 1
    """Number of the video track that the result is about, from 1."""
    tracks: int = 1
    searched: int = 1
    """How many tracks were searched for faces."""
    looks: int = 0
    """Frames that were searched for faces, of that track."""
    longest_gap_s: float = 0.0
    """The longest part of the video between two looks."""
    faces: int = 0
    """Faces that were found; one that is seen on ten looks counts ten times."""
    not_judged: Mapping[str, int] = field(default_factory=dict)
    """How many of them could not be judged, by `Face.problem`."""
    stopped_at_s: float | None = None
    """Where the search stopped early, because every face there was clear."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was seen in one video. `status` is recognised, unknown or no_face."""

    people: tuple[Person, ...]
    sightings: tuple[Sighting, ...]
    frames: int
    duration_s: float
    coverage: Coverage = Coverage()
    status: str = field(init=False)

    def __post_init__(self) -> None:
        named = any(person.name for person in self.people)
        status = "recognised" if named else "unknown" if self.people else "no_face"
        object.__setattr__(self, "status", status)


@dataclass(frozen=True, slots=True)
class Student:
    """A record of the student table."""

    name: str
    major: str = ""
    year: str = ""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Beyond them a video is refused."""

    seconds: float
    pixels: int


class Video(Protocol):
    """An opened video."""

    duration_s: float
    """Seconds of content; 0 when unknown."""
    moving_s: float
    """The same without what stands still (`MediaClock`); exact once the last frame was read."""
    track: int
    """Number of the video track that is read, from 1."""
    tracks: int
    """How many video tracks the file has."""

    @property
    def damaged(self) -> bool:
        """Whether something could not be decoded, as far as the frames were read."""
        ...

    @property
    def divisible(self) -> bool:
        """Whether `frames` may begin anywhere, so that parts can be read side by side."""
        ...

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """For each time, in `moving_s`, the first frame that is not before it; times only grow."""
        ...

    def key_frames(self, step_s: float) -> Iterator[Frame]:
        """Frames of the whole video, at most `step_s` of `moving_s` apart: key frames as far apart
        as that allows, and other frames only where key frames are too rare."""
        ...

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """The `Frame.time_s` of the first frame behind the cut between two times; None where there
        is not exactly one, and as for `kept_frame`."""
        ...

    def kept_frame(self, after_s: float, before_s: float) -> Frame | None:
        """Of the frames that were decoded in the last two steps of `frames`, the one nearest to the
        middle between two times (of `Frame.time_s`, both excluded); None where there is none.

        Only for a video that was opened to be looked at as a whole.
        """
        ...
