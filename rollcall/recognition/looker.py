"""Looks at one frame: finds its faces, encodes them and compares each with the gallery.

A face that has hardly moved since another look shortly before or after is not encoded again,
because an encoding takes about as long as finding all faces of the frame. Such a face is
*followed*: it gets the encoding and the match of that other look (decision 0093, measurements in
`core/following.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from rollcall.core.decision import DecisionRule
from rollcall.core.face_quality import measure, why_not_judged
from rollcall.core.following import Patch, is_same, patch_of
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import FaceEngine
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import DetectedFace, Face, Frame, Pixels, Sighting
from rollcall.core.voting import is_clear
from rollcall.recognition.picture_book import PictureBook


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A sighting, and the pixels by which later looks can follow the face."""

    sighting: Sighting
    patch: Patch
    """Pixels from the look that encoded the face, not from the latest look. Otherwise a face could
    turn into another one in small steps."""


@dataclass(frozen=True, slots=True)
class FrameLook:
    """A frame that was searched for faces."""

    time_s: float
    faces: tuple[SeenFace, ...]
    cut_s: float | None = None
    """Time of the first frame after a cut between the previous look and this one. Set only if the
    two looks show different people."""

    def sightings(self) -> list[Sighting]:
        return [face.sighting for face in self.faces]


class LookObserver(Protocol):
    """Sees every frame that is searched for faces, from up to two threads."""

    def clear(self) -> None:
        """Forget all frames, because a new search begins."""
        ...

    def see(self, frame: Frame, sightings: Sequence[Sighting]) -> None:
        """The frame's pixels are valid only during the call."""
        ...


class Looker:
    """Looks at frames with one engine and one gallery. Not thread-safe."""

    def __init__(
        self,
        engine: FaceEngine,
        gallery: Gallery,
        decision: DecisionRule,
        watch: Stopwatch,
        pictures: PictureBook | None = None,
        observer: LookObserver | None = None,
    ) -> None:
        """If `pictures` is given, it gets a picture of each face that is judged."""
        self._engine = engine
        self._gallery = gallery
        self.decision = decision
        self.watch = watch
        self.pictures = pictures
        self.observer = observer

    def with_watch(self, watch: Stopwatch) -> Looker:
        """Return a looker for another thread, with a stopwatch of its own."""
        parts = (self._engine, self._gallery, self.decision, watch, self.pictures)
        return Looker(*parts, self.observer)

    def look(self, frame: Frame, others: Iterable[FrameLook] = ()) -> FrameLook:
        """Find and judge all faces of the frame.

        `others` are looks shortly before or after this frame. Their clear faces can be followed.
        """
        with self.watch.stage("faces"):
            faces = self._engine.detect(frame.pixels)
            detected = [(face, patch_of(frame.pixels, face.box)) for face in faces]
            known = [seen for look in others for seen in look.faces]
            # Only clear faces are followed: more looks at a doubtful face may still name it.
            clear = [seen for seen in known if is_clear([seen.sighting], self.decision)]
            followed = [self._follow(frame.time_s, *each, clear) for each in detected]
            new = [each for each, seen in zip(detected, followed, strict=True) if seen is None]
            judged = iter(self._judge(frame, new))
        look = FrameLook(frame.time_s, tuple(seen or next(judged) for seen in followed))
        if self.observer and look.faces:
            self.observer.see(frame, look.sightings())
        return look

    def _follow(
        self, time_s: float, detected: DetectedFace, patch: Patch, clear: Sequence[SeenFace]
    ) -> SeenFace | None:
        """Return the face with the encoding of another look; None if it may be another face."""
        for other in clear:
            face = other.sighting.face
            if is_same(face.box, other.patch, detected.box, patch):
                moved = replace(face, box=detected.box, landmarks=detected.landmarks)
                sighting = Sighting(time_s, moved, other.sighting.match, followed=True)
                return SeenFace(sighting, other.patch)
        return None

    def _judge(
        self, frame: Frame, detected: Sequence[tuple[DetectedFace, Patch]]
    ) -> list[SeenFace]:
        """Return every face, in the given order. Only faces of sufficient quality get an encoding
        and a match."""
        faces = [_measure_quality(frame.pixels, face) for face, _ in detected]
        pairs = zip(detected, faces, strict=True)
        good = [found for (found, _), face in pairs if not face.problem]
        if good:
            # One call for all faces of the frame, because the encoder works in batches.
            encodings = self._engine.encode(frame.pixels, good)
            with self.watch.stage("match"):
                matches = iter(self._gallery.nearest(encodings))
            rows = iter(encodings)
        seen = []
        for face, (_, patch) in zip(faces, detected, strict=True):
            match = None
            if not face.problem:
                face, match = replace(face, encoding=next(rows)), next(matches)
            sighting = Sighting(frame.time_s, face, match)
            if self.pictures and not face.problem:
                self.pictures.add(frame.pixels, sighting)
            seen.append(SeenFace(sighting, patch))
        return seen


def _measure_quality(pixels: Pixels, face: DetectedFace) -> Face:
    quality = measure(pixels, face.box, face.landmarks, face.score)
    return Face(face.box, face.landmarks, quality, None, why_not_judged(quality))
