"""The values that pass between the parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rollcall.core.work_ids import GIVEN_ID, work_id_of

Pixels = NDArray[np.uint8]
Encodings = NDArray[np.float64]
Landmarks = NDArray[np.float64]
"""Shape (5, 2), x and y in pixels: two points of each eye, then the base of the nose (dlib)."""

ENCODING_SIZE = 128
"""Length of an encoding: the output of dlib's face recognition ResNet."""


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
class Face:
    """A face in a frame and its encoding, shape (128,)."""

    box: Box
    encoding: Encodings
    landmarks: Landmarks | None = None
    """None where the engine finds none."""
    score: float = 0.0
    """The detector's confidence; 0 where it gives none."""


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


@dataclass(frozen=True, slots=True)
class Person:
    """Someone in a video. `name` is empty for a person that the gallery does not know."""

    name: str
    first_seen_s: float
    last_seen_s: float
    frames: int
    distance: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which of a file's video tracks the result is about."""

    track: int = 1
    """Number of the track whose faces are told, from 1."""
    tracks: int = 1
    searched: int = 1
    """How many tracks were searched for faces."""


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

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """For each time, in `moving_s`, the first frame that is not before it; times only grow."""
        ...
