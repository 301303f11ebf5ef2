"""From a video file to the people in it: frames -> faces -> who."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sized
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rollcall.core.errors import DecoderCrashed, NotAVideo, StoreUnavailable, VideoTooLarge
from rollcall.core.gallery import Gallery
from rollcall.core.plan import PLANS
from rollcall.core.seams import FaceEngine, VideoFile
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import Coverage, Frame, Recognition, Sighting, Video
from rollcall.core.voting import is_clear, people

THOROUGH_FRAMES = 4
"""In the first frames without a face, `identify` also looks for turned and dark faces. More frames
would make videos without faces the most expensive ones."""

MIN_LEFT_S = 1.0
"""Minimum time left for decoding when the download used up the limit. The check after the first
frame then reports the time-out."""

IDENTIFY_CPU_S = 30.0
IDENTIFY_CPU_S_PER_MB = 5.0
"""Processor time that `identify` may take for a video, so that a small one cannot hold a replica
for minutes. A still picture of ten minutes in 1080p (0.6 MB), in which nobody is, took 3 s; the
real clips of two seconds take 0.03 to 0.1 s."""

MAX_SEARCHED_TRACKS = 3
"""Cameras and recorders write two or three. Each may take as long as the whole video."""

MAX_SIGHTINGS = 100_000
"""Each is kept to the end, with its encoding: two kilobytes."""

log = logging.getLogger(__name__)


class OpenVideo(Protocol):
    """Opens a video; `whole` says that all of it will be looked at, for `most_s` seconds at most.

    `cpu_s` is how much processor time decoding may take. `track` counts its video tracks in the
    order in which they are worth looking at. Raises NotAVideo, VideoTooLarge, DecoderCrashed or
    DecoderUnavailable, then and while frames are read.
    """

    def __call__(
        self, file: VideoFile, *, whole: bool, most_s: float, cpu_s: float, track: int
    ) -> AbstractContextManager[Video]: ...


@dataclass(frozen=True, slots=True)
class SearchedTrack:
    """The faces of one video track. `frames` is the number of frames that were searched."""

    track: int
    tracks: int
    duration_s: float
    damaged: bool
    frames: int
    sightings: tuple[Sighting, ...]


class CpuBudget:
    """Processor time that the search for faces may take in this thread, from now on."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until_s = time.thread_time() + seconds

    def check(self) -> None:
        """Raises VideoTooLarge beyond it."""
        if time.thread_time() > self._until_s:
            raise VideoTooLarge(
                f"looking for faces took more than {self.seconds:.0f} s of processor time, too much"
                " for a video of this size; cut it, or use SCAN=timeline"
            )


class Recogniser:
    """Looks at one video at a time and keeps nothing of it."""

    def __init__(
        self,
        open_video: OpenVideo,
        engine: FaceEngine,
        *,
        tolerance: float,
        scan: str,
        most_s: float,
    ) -> None:
        self.engine = engine
        self._open_video = open_video
        self._tolerance = tolerance
        self._scan = scan
        self._most_s = most_s

    def recognise(self, file: VideoFile, gallery: Gallery, watch: Stopwatch) -> Recognition:
        """Raises NotAVideo, or VideoTooLarge, also when it takes longer than `most_s` seconds
        from the start of the watch."""
        try:
            return self._recognise(file, gallery, watch)
        except DecoderCrashed as error:
            log.warning("%s; trying once more", error)
        try:
            return self._recognise(file, gallery, watch)
        except DecoderCrashed as error:
            raise NotAVideo("the video makes the decoder crash; convert it") from error

    def _recognise(self, file: VideoFile, gallery: Gallery, watch: Stopwatch) -> Recognition:
        searched = self._search(file, gallery, watch)
        best = next((each for each in searched if each.sightings), searched[0])
        if not best.sightings and any(each.damaged for each in searched):
            raise NotAVideo(
                "the video is damaged, and what could be decoded shows nobody; upload it again"
            )
        with watch.stage("vote"):
            found = people(best.sightings, self._tolerance)
        frames = sum(each.frames for each in searched)
        coverage = Coverage(best.track, best.tracks, len(searched))
        return Recognition(found, best.sightings, frames, best.duration_s, coverage)

    def _search(self, file: VideoFile, gallery: Gallery, watch: Stopwatch) -> list[SearchedTrack]:
        """The tracks up to the first one with faces: a lecture may have its slides on one track and
        the camera on the next. A track that cannot be decoded is left out if another one can."""
        searched: list[SearchedTrack] = []
        refusals: list[NotAVideo] = []
        budget = CpuBudget(self._cpu_s(file))
        for track in range(MAX_SEARCHED_TRACKS):
            if searched and (searched[-1].sightings or track >= searched[-1].tracks):
                break
            try:
                searched.append(self._search_track(file, gallery, watch, budget, track))
            except NotAVideo as error:
                refusals.append(error)
        if not searched:
            raise refusals[0]
        return searched

    def _search_track(
        self,
        file: VideoFile,
        gallery: Gallery,
        watch: Stopwatch,
        budget: CpuBudget,
        track: int,
    ) -> SearchedTrack:
        """Once more, with closer looks, where the video turns out far shorter than its header says:
        looks spread over hours would pass over everybody in a video of a minute."""
        found, moving_s = self._look_through(file, gallery, watch, budget, track)
        if moving_s is not None:
            found, _ = self._look_through(file, gallery, watch, budget, track, moving_s)
        return found

    def _look_through(
        self,
        file: VideoFile,
        gallery: Gallery,
        watch: Stopwatch,
        budget: CpuBudget,
        track: int,
        moving_s: float | None = None,
    ) -> tuple[SearchedTrack, float | None]:
        """Also the true `moving_s` where the planned looks were too far apart, else None."""
        sightings: list[Sighting] = []
        number, settled = 0, False
        with ExitStack() as stack:
            with watch.stage("open"):
                video = stack.enter_context(self._open(file, watch, budget, track))
            planned_s = video.moving_s if moving_s is None else moving_s
            frames = video.frames(PLANS[self._scan](planned_s))
            while not settled and (frame := _next(frames, watch)) is not None:
                number += 1
                thorough = self._scan == "identify" and not sightings and number <= THOROUGH_FRAMES
                seen = self._look(frame, gallery, watch, thorough)
                sightings += seen
                settled = self._scan == "identify" and self._is_settled(seen, sightings)
                if not settled:
                    self._check_time(watch, frame)
                    budget.check()
                    _check_crowd(sightings)
            found = SearchedTrack(
                video.track, video.tracks, video.duration_s, video.damaged, number, tuple(sightings)
            )
            too_far_apart = not settled and video.moving_s < planned_s / 2
            again = self._scan == "identify" and too_far_apart and moving_s is None
            return found, video.moving_s if again else None

    def _open(
        self, file: VideoFile, watch: Stopwatch, budget: CpuBudget, track: int
    ) -> AbstractContextManager[Video]:
        left_s = max(MIN_LEFT_S, self._most_s - watch.elapsed_s())
        return self._open_video(
            file,
            whole=self._scan == "timeline",
            most_s=left_s,
            cpu_s=budget.seconds,
            track=track,
        )

    def _cpu_s(self, file: VideoFile) -> float:
        """Processor time for decoding, and as much again for the search for faces."""
        if self._scan == "timeline":
            return self._most_s
        megabytes = file.size_bytes / 1e6
        return min(self._most_s, IDENTIFY_CPU_S + IDENTIFY_CPU_S_PER_MB * megabytes)

    def _is_settled(self, seen: list[Sighting], sightings: list[Sighting]) -> bool:
        """This frame leaves no doubt, and neither do those before it."""
        if not is_clear(seen, self._tolerance):
            return False
        return all(person.name for person in people(sightings, self._tolerance))

    def _check_time(self, watch: Stopwatch, frame: Frame) -> None:
        """Beyond the time-out the caller is gone, and would send the same video again."""
        if watch.elapsed_s() <= self._most_s:
            return
        if watch.seconds("download") > self._most_s / 2:
            raise StoreUnavailable("the store took most of MAX_CALL_S to send the video")
        raise VideoTooLarge(
            f"after {self._most_s:g} s only {frame.time_s:.0f} s of the video were looked at;"
            " raise MAX_CALL_S together with the function's time-outs, or use SCAN=identify"
        )

    def _look(
        self, frame: Frame, gallery: Gallery, watch: Stopwatch, thorough: bool
    ) -> list[Sighting]:
        with watch.stage("faces"):
            faces = self.engine.faces(frame.pixels, thorough=thorough)
        if not faces:
            return []
        with watch.stage("match"):
            matches = gallery.nearest(np.stack([face.encoding for face in faces]))
        return [
            Sighting(frame.time_s, face, match) for face, match in zip(faces, matches, strict=True)
        ]


def _check_crowd(sightings: Sized) -> None:
    if len(sightings) > MAX_SIGHTINGS:
        raise VideoTooLarge(
            f"the video shows more than {MAX_SIGHTINGS} faces in all; cut it, or use SCAN=identify"
        )


def _next(frames: Iterator[Frame], watch: Stopwatch) -> Frame | None:
    """Decoding happens inside the iterator, so this is where its time goes by."""
    with watch.stage("decode"):
        return next(frames, None)
