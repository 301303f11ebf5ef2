"""From a video file to the people in it: frames -> faces -> who."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from rollcall.core.gallery import Gallery
from rollcall.core.seams import FaceEngine
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import Frame, Recognition, Sighting, Video
from rollcall.core.voting import is_clear, people

IDENTIFY_FRAMES = 24
"""Most frames that `identify` looks at, spread over the whole video."""

IDENTIFY_STEP_S = 0.5
"""Least distance between them: a face hardly changes faster."""

TIMELINE_STEP_S = 1.0

OpenVideo = Callable[[Path], AbstractContextManager[Video]]


class Recogniser:
    """Looks at one video at a time and keeps nothing of it."""

    def __init__(
        self, open_video: OpenVideo, engine: FaceEngine, *, tolerance: float, scan: str
    ) -> None:
        self.engine = engine
        self._open_video = open_video
        self._tolerance = tolerance
        self._scan = scan

    def recognise(self, path: Path, gallery: Gallery, watch: Stopwatch) -> Recognition:
        """Raises NotAVideo or VideoTooLarge."""
        sightings: list[Sighting] = []
        count = 0
        with watch.stage("open"):
            opened = self._open_video(path)
        with opened as video:
            frames = video.frames(self._step_s(video.duration_s))
            while (frame := _next(frames, watch)) is not None:
                count += 1
                seen = self._look(frame, gallery, watch)
                sightings += seen
                if self._scan == "identify" and is_clear(seen, self._tolerance):
                    break
            duration_s = video.duration_s
        with watch.stage("vote"):
            found = people(sightings, self._tolerance)
        return Recognition(found, tuple(sightings), count, duration_s)

    def _step_s(self, duration_s: float) -> float:
        if self._scan == "timeline":
            return TIMELINE_STEP_S
        return max(IDENTIFY_STEP_S, duration_s / IDENTIFY_FRAMES)

    def _look(self, frame: Frame, gallery: Gallery, watch: Stopwatch) -> list[Sighting]:
        with watch.stage("faces"):
            faces = self.engine.faces(frame.pixels)
        if not faces:
            return []
        with watch.stage("match"):
            matches = gallery.nearest(np.stack([face.encoding for face in faces]))
        return [
            Sighting(frame.time_s, face, match) for face, match in zip(faces, matches, strict=True)
        ]


def _next(frames: Iterator[Frame], watch: Stopwatch) -> Frame | None:
    """Decoding happens inside the iterator, so this is where its time goes by."""
    with watch.stage("decode"):
        return next(frames, None)
