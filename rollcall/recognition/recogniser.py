"""Recognises the people in one video file. This module is the entry point of the package.

1. The video tracks of the file are searched one after the other, up to the first one that shows a
   face (`search.py`).
2. A search looks at the frames that the scan chooses (`core/sampling.py`). A *look* finds the faces
   of a frame and compares each with the gallery (`looker.py`).
3. `SCAN=timeline` looks once a second; between two looks that show different people, it takes more
   looks until the moment of the change is known (`refiner.py`).
4. Sightings of one face at several times are grouped, and together they vote for a name, or for
   nobody (`deciding.py`, `core/voting.py`). The times of the sightings become intervals
   (`core/presence.py`).
5. The result also contains the coverage: how thoroughly the video was searched.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from typing import Protocol

from rollcall.core.decision import DecisionRule
from rollcall.core.errors import DecoderCrashed, NotAVideo
from rollcall.core.gallery import Gallery
from rollcall.core.protocols import FaceEngine, Video, VideoFile
from rollcall.core.sampling import Scan
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.tolerance import decision_for
from rollcall.core.types import Recognition
from rollcall.recognition.deciding import SearchFacts, decide
from rollcall.recognition.looker import Looker, LookObserver
from rollcall.recognition.picture_book import CutOut, PictureBook
from rollcall.recognition.search import Search, SearchedTrack, SearchLimits

MIN_LEFT_S = 1.0
"""Minimum time left for decoding when the download used up the limit. The check after the first
frame then reports the time-out."""

CPU_S = 30.0
CPU_S_PER_MB = 5.0
"""Limit for the processor time of a video: CPU_S plus CPU_S_PER_MB for each megabyte of the file,
so that a small file cannot occupy a replica for minutes. It does not apply to `SCAN=timeline`.
Measured: ten minutes of a still picture in 1080p without faces (0.6 MB) took 3 s; real clips of two
seconds take 0.03 to 0.1 s."""

MAX_SEARCHED_TRACKS = 3
"""Limit for the video tracks that are searched. Cameras and recorders write two or three, and the
search of each track may take as long as that of a whole video."""

log = logging.getLogger(__name__)


class OpenVideo(Protocol):
    """Opens one video track of a file.

    `whole` means that the whole video will be decoded. `max_s` limits the wall time and `cpu_s` the
    processor time of decoding. `track` counts from 0, in the order in which tracks should be
    searched (decision 0053). NotAVideo, VideoTooLarge, VideoTooLong, VideoTooSlow, DecoderCrashed
    and DecoderUnavailable may be raised on opening and whenever a frame is read.
    """

    def __call__(
        self, file: VideoFile, *, whole: bool, max_s: float, cpu_s: float, track: int
    ) -> AbstractContextManager[Video]: ...


class Recogniser:
    """Recognises one video at a time, and keeps no data about it afterwards."""

    def __init__(
        self,
        open_video: OpenVideo,
        engine: FaceEngine,
        *,
        tolerance: float | None,
        scan: Scan,
        max_s: float,
        cut_out: CutOut | None = None,
        observer: LookObserver | None = None,
    ) -> None:
        """If `tolerance` is None, the gallery's own tolerance is used. `max_s` limits the wall time
        of one video, its download included. With `cut_out`, a recognition has small pictures.
        `observer` sees every frame that is searched for faces."""
        self.engine = engine
        self._open_video = open_video
        self._tolerance = tolerance
        self._scan = scan
        self._max_s = max_s
        self._cut_out = cut_out
        self._observer = observer

    def recognise(self, file: VideoFile, gallery: Gallery, watch: Stopwatch) -> Recognition:
        """Search the video and decide who is in it.

        Raises NotAVideo, VideoTooLarge, VideoTooLong or TooManyFaces; and VideoTooSlow if it takes
        longer than `max_s` seconds from the start of the watch.
        """
        try:
            return self._recognise(file, gallery, watch)
        except DecoderCrashed as error:
            # A single crash may be the machine's fault. After a second one, we blame the video.
            log.warning("%s; trying once more", error)
        try:
            return self._recognise(file, gallery, watch)
        except DecoderCrashed as error:
            raise NotAVideo("the video makes the decoder crash; convert it") from error

    def _recognise(self, file: VideoFile, gallery: Gallery, watch: Stopwatch) -> Recognition:
        decision = decision_for(gallery, self._tolerance, self.engine.space)
        limits = SearchLimits(watch, self._max_s, self._cpu_limit_s(file))
        pictures = self._picture_book()
        looker = Looker(self.engine, gallery, decision, watch, pictures, self._observer)
        search = Search(self._scan, looker, limits)
        searched = self._search_tracks(file, search)
        best = next((track for track in searched if track.sightings()), searched[0])
        # If a part of the video could not be decoded, "nobody" would be a guess.
        if not best.sightings() and any(track.damaged for track in searched):
            raise NotAVideo(
                "the video is damaged, and what could be decoded shows nobody; upload it again"
            )
        with watch.stage("vote"):
            recognition = _recognition(best, searched, decision)
            if pictures:
                recognition = replace(recognition, pictures=pictures.chosen(recognition))
            return recognition

    def _picture_book(self) -> PictureBook | None:
        if not self._cut_out:
            return None
        return PictureBook(self._cut_out, self.engine.space.same_face_distance)

    def _search_tracks(self, file: VideoFile, search: Search) -> list[SearchedTrack]:
        """Search the video tracks up to the first one with faces.

        The recording of a lecture may have slides on one track and the camera on the next
        (decision 0053). A track that cannot be decoded is skipped, unless none can be decoded.
        """
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
        searched, planned_s, moving_s = self._open_and_search(file, search, track)
        # The header may claim that a video of one minute lasts for hours. Looks that are spread
        # over hours would miss almost everybody, so the video is searched again, with looks spread
        # over its true length.
        stopped = searched.stopped_at_s is not None
        if not stopped and self._scan.must_search_again(planned_s, moving_s):
            searched, _, _ = self._open_and_search(file, search, track, moving_s)
        return searched

    def _open_and_search(
        self, file: VideoFile, search: Search, track: int, length_s: float | None = None
    ) -> tuple[SearchedTrack, float, float]:
        """Search the track. Return it, the length for which the looks were planned, and the true
        length.

        Both lengths are measured as `Video.moving_s`. If `length_s` is None, the looks are planned
        for the length in the header.
        """

        def open_track() -> AbstractContextManager[Video]:
            return self._open_video(
                file,
                whole=self._scan.walks,
                max_s=max(MIN_LEFT_S, self._max_s - search.limits.watch.elapsed_s()),
                cpu_s=self._cpu_limit_s(file),
                track=track,
            )

        with ExitStack() as stack:
            with search.limits.watch.stage("open"):
                video = stack.enter_context(open_track())
            planned_s = video.moving_s if length_s is None else length_s
            searched = search.search_track(video, planned_s, open_track)
            return searched, planned_s, video.moving_s  # `moving_s` is exact only by now

    def _cpu_limit_s(self, file: VideoFile) -> float:
        """Return the processor time that decoding may take. Looking for faces is limited
        separately, to the same time."""
        if self._scan.walks:
            return self._max_s
        return min(self._max_s, CPU_S + CPU_S_PER_MB * file.size_bytes / 1e6)


def _recognition(
    best: SearchedTrack, searched: Sequence[SearchedTrack], decision: DecisionRule
) -> Recognition:
    """Decide who is in the track `best`. The other searched tracks show nobody."""
    facts = SearchFacts(
        looks_s=tuple(look.time_s for look in best.looks),
        cuts_s=tuple(look.cut_s for look in best.looks if look.cut_s is not None),
        duration_s=best.duration_s,
        frames=sum(len(track.looks) for track in searched),
        track=best.track,
        tracks=best.tracks,
        searched=len(searched),
        stopped_at_s=best.stopped_at_s,
    )
    return decide(best.sightings(), decision, facts)
