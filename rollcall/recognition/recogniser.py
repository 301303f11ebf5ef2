"""From a video file to the people in it: frames -> faces -> who."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from rollcall.core.decision import Decision
from rollcall.core.errors import DecoderCrashed, NotAVideo
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import FaceEngine, VideoFile
from rollcall.core.sampling import Scan
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.tolerance import decision_for
from rollcall.core.types import Coverage, Recognition, Sighting, Video
from rollcall.core.voting import people
from rollcall.recognition.looker import FrameLook, Looker
from rollcall.recognition.search import Search, SearchLimits

MIN_LEFT_S = 1.0
"""Minimum time left for decoding when the download used up the limit. The check after the first
frame then reports the time-out."""

CPU_S = 30.0
CPU_S_PER_MB = 5.0
"""Processor time that a video may take where only some frames are looked at, so that a small file
cannot hold a replica for minutes. A still picture of ten minutes in 1080p (0.6 MB), in which nobody
is, took 3 s; the real clips of two seconds take 0.03 to 0.1 s."""

MAX_SEARCHED_TRACKS = 3
"""Cameras and recorders write two or three. Each may take as long as the whole video."""

log = logging.getLogger(__name__)


class OpenVideo(Protocol):
    """Opens a video; `whole` says that all of it will be looked at, for `max_s` seconds at most.

    `cpu_s` is how much processor time decoding may take. `track` counts its video tracks in the
    order in which they are worth looking at. Raises NotAVideo, VideoTooLarge, DecoderCrashed or
    DecoderUnavailable, then and while frames are read.
    """

    def __call__(
        self, file: VideoFile, *, whole: bool, max_s: float, cpu_s: float, track: int
    ) -> AbstractContextManager[Video]: ...


@dataclass(frozen=True, slots=True)
class SearchedTrack:
    """The looks at one video track."""

    track: int
    tracks: int
    duration_s: float
    damaged: bool
    looks: tuple[FrameLook, ...]
    stopped_at_s: float | None

    def sightings(self) -> tuple[Sighting, ...]:
        return tuple(sighting for look in self.looks for sighting in look.sightings())


class Recogniser:
    """Looks at one video at a time and keeps nothing of it."""

    def __init__(
        self,
        open_video: OpenVideo,
        engine: FaceEngine,
        *,
        tolerance: float | None,
        scan: Scan,
        max_s: float,
    ) -> None:
        """`tolerance` None means the gallery's own. A video may take `max_s` seconds."""
        self.engine = engine
        self._open_video = open_video
        self._tolerance = tolerance
        self._scan = scan
        self._max_s = max_s

    def recognise(self, file: VideoFile, gallery: Gallery, watch: Stopwatch) -> Recognition:
        """Raises NotAVideo, or VideoTooLarge, also when it takes longer than `max_s` seconds
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
        decision = decision_for(gallery, self._tolerance, self.engine.space)
        limits = SearchLimits(watch, self._max_s, self._cpu_s(file))
        search = Search(self._scan, Looker(self.engine, gallery, decision, watch), limits)
        searched = self._search(file, search)
        best = next((each for each in searched if each.sightings()), searched[0])
        if not best.sightings() and any(each.damaged for each in searched):
            raise NotAVideo(
                "the video is damaged, and what could be decoded shows nobody; upload it again"
            )
        with watch.stage("vote"):
            return _recognition(best, searched, decision)

    def _search(self, file: VideoFile, search: Search) -> list[SearchedTrack]:
        """The tracks up to the first one with faces: a lecture may have its slides on one track and
        the camera on the next. A track that cannot be decoded is left out if another one can."""
        searched: list[SearchedTrack] = []
        refusals: list[NotAVideo] = []
        for track in range(MAX_SEARCHED_TRACKS):
            if searched and (searched[-1].sightings() or track >= searched[-1].tracks):
                break
            try:
                searched.append(self._search_track(file, search, track))
            except NotAVideo as error:
                refusals.append(error)
        if not searched:
            raise refusals[0]
        return searched

    def _search_track(self, file: VideoFile, search: Search, track: int) -> SearchedTrack:
        """Once more, with closer looks, where the video turns out far shorter than its header says:
        looks spread over hours would pass over everybody in a video of a minute."""
        found, planned_s, moving_s = self._look_through(file, search, track)
        if found.stopped_at_s is None and self._scan.must_search_again(planned_s, moving_s):
            found, _, _ = self._look_through(file, search, track, moving_s)
        return found

    def _look_through(
        self, file: VideoFile, search: Search, track: int, length_s: float | None = None
    ) -> tuple[SearchedTrack, float, float]:
        """Also the `moving_s` that the looks were planned for, and the true one."""

        def open_track() -> AbstractContextManager[Video]:
            return self._open_video(
                file,
                whole=self._scan.walks,
                max_s=max(MIN_LEFT_S, self._max_s - search.limits.watch.elapsed_s()),
                cpu_s=self._cpu_s(file),
                track=track,
            )

        with ExitStack() as stack:
            with search.limits.watch.stage("open"):
                video = stack.enter_context(open_track())
            planned_s = video.moving_s if length_s is None else length_s
            found = search.through(video, planned_s, open_track)
            searched = SearchedTrack(
                video.track,
                video.tracks,
                video.duration_s,
                found.damaged,
                tuple(found.looks),
                found.stopped_at_s,
            )
            return searched, planned_s, video.moving_s

    def _cpu_s(self, file: VideoFile) -> float:
        """Processor time for decoding, and as much again for the search for faces."""
        if self._scan.walks:
            return self._max_s
        return min(self._max_s, CPU_S + CPU_S_PER_MB * file.size_bytes / 1e6)


def _recognition(
    best: SearchedTrack, searched: Sequence[SearchedTrack], decision: Decision
) -> Recognition:
    sightings = best.sightings()
    looks_s = [look.time_s for look in best.looks]
    end_s = max([best.duration_s, *looks_s])
    steps = (after - before for before, after in pairwise([*looks_s, end_s]))
    coverage = Coverage(
        track=best.track,
        tracks=best.tracks,
        searched=len(searched),
        looks=len(looks_s),
        longest_gap_s=max(steps, default=0.0),
        faces=len(sightings),
        not_judged=Counter(s.face.problem for s in sightings if s.face.problem),
        stopped_at_s=best.stopped_at_s,
    )
    cuts_s = [look.cut_s for look in best.looks if look.cut_s is not None]
    found = people(sightings, decision, looks_s, end_s, cuts_s)
    frames = sum(len(each.looks) for each in searched)
    return Recognition(found, sightings, frames, best.duration_s, coverage)
