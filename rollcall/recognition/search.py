"""Going through a video: the looks that a scan wants, one after the other or in two parts."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import takewhile

from rollcall.core.errors import NotAVideo, StoreUnavailable, VideoTooLarge
from rollcall.core.sampling import Scan, walk_times
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import Frame, Video
from rollcall.core.voting import is_clear
from rollcall.recognition.looker import FrameLook, Looker
from rollcall.recognition.refiner import Refiner

MAX_SIGHTINGS = 100_000
"""Each is kept to the end, with its encoding: two kilobytes."""

MIN_PART_S = 15.0
"""A walk is split into two parts only if each is at least this long. The second one needs a decoder
of its own, whose start costs as much as decoding some seconds."""

OpenAgain = Callable[[], AbstractContextManager[Video]]


class SearchLimits:
    """How long the search may take, and how many faces it may find."""

    def __init__(self, watch: Stopwatch, max_s: float, cpu_s: float = math.inf) -> None:
        """`max_s` counts from the start of the watch, `cpu_s` is processor time that this thread
        may take from now on."""
        self.watch = watch
        self._max_s = max_s
        self._cpu_s = cpu_s
        self._until_s = time.thread_time() + cpu_s

    def check(self, look: FrameLook, faces: int) -> None:
        """Raises VideoTooLarge or StoreUnavailable. Beyond the time-out the caller is gone, and
        would send the same video again."""
        if time.thread_time() > self._until_s:
            raise VideoTooLarge(
                f"looking for faces took more than {self._cpu_s:.0f} s of processor time, too much"
                " for a video of this size; cut it, or use SCAN=timeline"
            )
        if faces > MAX_SIGHTINGS:
            raise VideoTooLarge(
                f"the video shows more than {MAX_SIGHTINGS} faces in all; cut it, or use"
                " SCAN=identify"
            )
        if self.watch.elapsed_s() <= self._max_s:
            return
        if self.watch.seconds("download") > self._max_s / 2:
            raise StoreUnavailable("the store took most of MAX_CALL_S to send the video")
        raise VideoTooLarge(
            f"the time limit of {self._max_s:g} s was reached at {look.time_s:.0f} s of the video;"
            " raise MAX_CALL_S together with the function's time-outs, or use SCAN=identify"
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The looks at a video track, in order of time."""

    looks: list[FrameLook]
    damaged: bool
    stopped_at_s: float | None = None
    """Where the search stopped early."""


@dataclass(frozen=True, slots=True)
class Search:
    """The search for faces in one video."""

    scan: Scan
    looker: Looker
    limits: SearchLimits

    def through(self, video: Video, length_s: float, open_again: OpenAgain) -> Found:
        """All looks at the video that the scan wants.

        `open_again` opens the same track once more, so that two parts of it can be read side by
        side.
        """
        if self.scan.walks and _is_worth_splitting(video):
            with open_again() as second:
                return self._in_two_parts(video, second)
        looks: list[FrameLook] = []
        for look in self._looks(video, self.scan.frames(video, length_s)):
            looks.append(look)
            stops = self.scan.may_stop(length_s, look.time_s)
            if stops and is_clear(look.sightings(), self.looker.decision):
                return Found(looks, video.damaged, look.time_s)
        return Found(looks, video.damaged, None)

    def _looks(
        self, video: Video, frames: Iterator[Frame], until: FrameLook | None = None
    ) -> Iterator[FrameLook]:
        """Looks at those frames, and in a walk at others between them, where somebody came or went.

        `until`, the first look of the next part, is the last one.
        """
        refiner = Refiner(self.looker) if self.scan.walks else None
        last: FrameLook | None = None
        faces = 0
        while (frame := self._decoded(frames)) is not None:
            ends = until is not None and frame.time_s >= until.time_s
            look = until if ends and until else self.looker.look(frame, [last] if last else [])
            new = refiner.between(video, last, look) if refiner and last else [look]
            yield from new
            if ends:
                return
            last = look
            faces += sum(len(each.faces) for each in new)
            self.limits.check(look, faces)

    def _decoded(self, frames: Iterator[Frame]) -> Frame | None:
        """The next frame. Decoding happens inside the iterator, so its time counts here."""
        with self.looker.watch.stage("decode"):
            return next(frames, None)

    def _in_two_parts(self, first: Video, second: Video) -> Found:
        """The second part has a decoder and a thread of its own. If nothing behind the middle can
        be decoded, the first part goes on as far as it can."""
        times = walk_times(0.0, first.moving_s)
        watch, failed = Stopwatch(), threading.Event()
        other = Search(self.scan, self.looker.with_watch(watch), self.limits)
        behind = second.frames(walk_times(first.moving_s / 2, first.moving_s))
        others = other._looks(second, behind)
        try:
            opening = next(others, None)
        except NotAVideo:
            opening = None
        if opening is None:
            return Found(list(self._looks(first, first.frames(times))), damaged=True)
        looks: list[FrameLook] = []
        with ThreadPoolExecutor(1) as executor:
            rest = executor.submit(lambda: list(takewhile(lambda _: not failed.is_set(), others)))
            try:
                for look in self._looks(first, first.frames(times), until=opening):
                    looks.append(look)
                    if rest.done():
                        rest.result()  # raises what ended the second part
            except BaseException:
                failed.set()
                raise
            if looks[-1].time_s < opening.time_s:  # the first part ended early
                looks.append(opening)
            looks += rest.result()
        self.limits.watch.add(watch)
        return Found(looks, first.damaged or second.damaged)


def _is_worth_splitting(video: Video) -> bool:
    cores = len(os.sched_getaffinity(0))
    return cores > 1 and video.divisible and video.moving_s >= 2 * MIN_PART_S
