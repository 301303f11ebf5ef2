"""One look: from the pixels of a frame to its faces, and whom each is nearest to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rollcall.core.decision import Decision
from rollcall.core.face_quality import measure, why_not_judged
from rollcall.core.following import Patch, is_same, patch_of
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import FaceEngine
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import DetectedFace, Face, Frame, Pixels, Sighting
from rollcall.core.voting import is_clear


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A sighting, and the pixels by which later looks recognise the face again."""

    sighting: Sighting
    patch: Patch
    """The pixels of the look that encoded the face, so that a face cannot change bit by bit."""


@dataclass(frozen=True, slots=True)
class FrameLook:
    """A frame that was searched for faces."""

    time_s: float
    faces: tuple[SeenFace, ...]
    cut_s: float | None = None
    """The first frame behind a cut between the look before and this one, where the two differ."""

    def sightings(self) -> list[Sighting]:
        return [face.sighting for face in self.faces]


class Looker:
    """Finds the faces of frames, and compares each with the gallery. For one thread."""

    def __init__(
        self, engine: FaceEngine, gallery: Gallery, decision: Decision, watch: Stopwatch
    ) -> None:
        self._engine = engine
        self._gallery = gallery
        self.decision = decision
        self.watch = watch

    def with_watch(self, watch: Stopwatch) -> Looker:
        """The same for another thread."""
        return Looker(self._engine, self._gallery, self.decision, watch)

    def look(self, frame: Frame, others: Iterable[FrameLook] = ()) -> FrameLook:
        """`others` are looks nearby. A face that one of them shows at the same place, and that was
        clear there, is not encoded again."""
        with self.watch.stage("faces"):
            detected = self._engine.detect(frame.pixels)
            found = [(each, patch_of(frame.pixels, each.box)) for each in detected]
            faces = [face for look in others for face in look.faces]
            known = [face for face in faces if is_clear([face.sighting], self.decision)]
            seen = [self._followed(frame.time_s, *each, known) for each in found]
            new = [each for each, face in zip(found, seen, strict=True) if face is None]
            encoded = iter(self._judged(frame, new))
        return FrameLook(frame.time_s, tuple(face or next(encoded) for face in seen))

    def _followed(
        self, time_s: float, detected: DetectedFace, patch: Patch, known: Sequence[SeenFace]
    ) -> SeenFace | None:
        """The face as an earlier look encoded it; None if it is not surely the same."""
        for each in known:
            face = each.sighting.face
            if is_same(face.box, each.patch, detected.box, patch):
                moved = replace(face, box=detected.box, landmarks=detected.landmarks)
                sighting = Sighting(time_s, moved, each.sighting.match, followed=True)
                return SeenFace(sighting, each.patch)
        return None

    def _judged(self, frame: Frame, found: Sequence[tuple[DetectedFace, Patch]]) -> list[SeenFace]:
        """All of them, encoded where they can be judged."""
        faces = [_measured(frame.pixels, each) for each, _ in found]
        good = [each for (each, _), face in zip(found, faces, strict=True) if not face.problem]
        if good:
            encodings = self._engine.encode(frame.pixels, good)
            with self.watch.stage("match"):
                matches = iter(self._gallery.nearest(encodings))
            rows = iter(encodings)
        seen = []
        for face, (_, patch) in zip(faces, found, strict=True):
            match = None
            if not face.problem:
                face, match = replace(face, encoding=next(rows)), next(matches)
            seen.append(SeenFace(Sighting(frame.time_s, face, match), patch))
        return seen


def _measured(pixels: Pixels, face: DetectedFace) -> Face:
    quality = measure(pixels, face.box, face.landmarks, face.score)
    return Face(face.box, face.landmarks, quality, None, why_not_judged(quality))
