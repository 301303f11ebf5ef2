"""Searches one video track for faces.

The scan chooses the frames (`core/sampling.py`), which are looked at in order of time. In a short
video, and in every video with `SCAN=identify`, the search stops at the first look in which every
face that can be judged is *clear*: one look is enough to name the person. `SCAN=timeline` *walks*
through the whole video: it looks once a second, and refines the moments at which somebody came or
went.

With `SCAN=timeline`, a long video is split into two halves, which two decoders and two threads
search side by side. The first half ends with the first look of the second half, so that a change
between the two halves is refined, too. Decision 0091 says which videos can be split.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile

from rollcall.core.errors import NotAVideo, StoreUnavailable, TooManyFaces, VideoTooSlow
from rollcall.core.protocols import Video
from rollcall.core.sampling import Scan, walk_times
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import Frame, Sighting
from rollcall.core.voting import is_clear
from rollcall.recognition.looker import FrameLook, Looker
from rollcall.recognition.refiner import Refiner

MAX_SIGHTINGS = 100_000
"""Limit for the faces of all looks together. Each face is kept until the end of the search, and
takes two kilobytes of memory, mostly for its encoding."""

MIN_HALF_S = 15.0
"""A video is split only if each half is at least this long. The second half needs another decoder,
whose start takes as long as decoding a few seconds of video."""

OpenTrack = Callable[[], AbstractContextManager[Video]]
"""Opens the video track a second time, with another decoder."""


class SearchLimits:
    """Limits for the time that a search takes and for the faces that it finds."""

    def __init__(self, watch: Stopwatch, max_s: float, cpu_s: float = math.inf) -> None:
        """`max_s` is wall time from the start of the watch. `cpu_s` is processor time that the
        current thread may use from now on."""
        self.watch = watch
        self._max_s = max_s
        self._cpu_s = cpu_s
        self._until_s = time.thread_time() + cpu_s

    def check(self, look: FrameLook, faces: int) -> None:
        """Raise VideoTooSlow, TooManyFaces or StoreUnavailable if a limit is exceeded.

        `look` is the latest look, and `faces` the number of faces in all looks so far.
        """
        if time.thread_time() > self._until_s:
            raise VideoTooSlow(
                f"looking for faces took more than {self._cpu_s:.0f} s of processor time, too much"
                " for a video of this size; cut it, or use SCAN=timeline"
            )
        if faces > MAX_SIGHTINGS:
            raise TooManyFaces(
                f"the video shows more than {MAX_SIGHTINGS} faces in all; cut it, or use"
                " SCAN=identify"
            )
        if self.watch.elapsed_s() <= self._max_s:
            return
        # By now the caller has given up, and will send the same video again. A permanent error
        # prevents that. If the store was slow, the next try may be faster, so the error is
        # transient.
        if self.watch.seconds("download") > self._max_s / 2:
            raise StoreUnavailable("the store took most of MAX_CALL_S to send the video")
        raise VideoTooSlow(
            f"the time limit of {self._max_s:g} s was reached at {look.time_s:.0f} s of the video;"
            " raise MAX_CALL_S together with the function's time-outs, or use SCAN=identify"
        )


@dataclass(frozen=True, slots=True)
class SearchedTrack:
    """The looks at one video track, in order of time."""

    track: int
    """Number of the video track, from 1."""
    tracks: int
    """How many video tracks the file has."""
    duration_s: float
    looks: tuple[FrameLook, ...]
    damaged: bool
    """Whether a part of the track could not be decoded."""
    stopped_at_s: float | None = None
    """Time of the last look, if the search stopped early."""

    def sightings(self) -> tuple[Sighting, ...]:
        return tuple(sighting for look in self.looks for sighting in look.sightings())


@dataclass(frozen=True, slots=True)
class Search:
    """Searches the tracks of one video, with one scan and one set of limits."""

    scan: Scan
    looker: Looker
    limits: SearchLimits

    def search_track(self, video: Video, length_s: float, open_again: OpenTrack) -> SearchedTrack:
        """Look at all frames that the scan chooses.

        `length_s` is the length for which the looks are planned, in `Video.moving_s`.
        """
        if self.looker.pictures:
            self.looker.pictures.clear()  # what an earlier search found is not used
        if self.looker.observer:
            self.looker.observer.clear()
        if self.scan.walks and _is_worth_splitting(video):
            with open_again() as second:
                return self._search_halves(video, second)
        looks: list[FrameLook] = []
        for look in self._looks(video, self.scan.frames(video, length_s)):
            looks.append(look)
            may_stop = self.scan.may_stop(length_s, look.time_s)
            if may_stop and is_clear(look.sightings(), self.looker.decision):
                return _searched(video, looks, stopped_at_s=look.time_s)
        return _searched(video, looks)

    def _looks(
        self, video: Video, frames: Iterator[Frame], until: FrameLook | None = None
    ) -> Iterator[FrameLook]:
        """Look at the frames. With SCAN=timeline, the refiner's extra looks are yielded, too.

        `until` is the first look of the second half, if there is one. It is yielded last.
        """
        refiner = Refiner(self.looker) if self.scan.walks else None
        last: FrameLook | None = None
        faces = 0
        while (frame := self._next_frame(frames)) is not None:
            at_seam = until is not None and frame.time_s >= until.time_s
            look = until if at_seam and until else self.looker.look(frame, [last] if last else [])
            new = refiner.between(video, last, look) if refiner and last else [look]
            yield from new
            if at_seam:
                return
            last = look
            faces += sum(len(each.faces) for each in new)
            self.limits.check(look, faces)

    def _next_frame(self, frames: Iterator[Frame]) -> Frame | None:
        with self.looker.watch.stage("decode"):  # decoding happens inside the iterator
            return next(frames, None)

    def _search_halves(self, first: Video, second: Video) -> SearchedTrack:
        """Search the first half in this thread and the second one in another thread."""
        times = walk_times(0.0, first.moving_s)
        # Neither a stopwatch nor a looker is thread-safe, so the second half has its own.
        watch, failed = Stopwatch(), threading.Event()
        other = Search(self.scan, self.looker.with_watch(watch), self.limits)
        second_frames = second.frames(walk_times(first.moving_s / 2, first.moving_s))
        second_looks = other._looks(second, second_frames)
        # The first half ends with the first look of the second half, so this look is taken first.
        try:
            seam = next(second_looks, None)
        except NotAVideo:
            seam = None
        if seam is None:
            # Nothing after the middle can be decoded. Search what this decoder can decode.
            return _searched(first, self._looks(first, first.frames(times)), damaged=True)
        looks: list[FrameLook] = []
        with ThreadPoolExecutor(1) as executor:
            rest = executor.submit(
                lambda: list(takewhile(lambda _: not failed.is_set(), second_looks))
            )
            try:
                for look in self._looks(first, first.frames(times), until=seam):
                    looks.append(look)
                    if rest.done():
                        rest.result()  # raises the error that ended the second half, if any
            except BaseException:
                failed.set()  # otherwise the executor would wait for the whole second half
                raise
            if looks[-1].time_s < seam.time_s:
                looks.append(seam)  # the first half could not be decoded up to the middle
            looks += rest.result()
        self.limits.watch.add(watch)
        return _searched(first, looks, damaged=first.damaged or second.damaged)


def _searched(
    video: Video,
    looks: Iterable[FrameLook],
    *,
    damaged: bool | None = None,
    stopped_at_s: float | None = None,
) -> SearchedTrack:
    """Combine the looks with the properties of the video, as they are known after the search."""
    looks = tuple(looks)
    damaged = video.damaged if damaged is None else damaged
    return SearchedTrack(video.track, video.tracks, video.duration_s, looks, damaged, stopped_at_s)


def _is_worth_splitting(video: Video) -> bool:
    cores = len(os.sched_getaffinity(0))
    return cores > 1 and video.divisible and video.moving_s >= 2 * MIN_HALF_S
