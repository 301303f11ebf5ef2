"""Keeps some of the frames that were searched for faces, and chooses those that matter at the end.

A frame has to be kept during the look, because the decoder reuses its memory. Only at the end is it
known who is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from rollcall.core.face_worth import worth
from rollcall.core.types import Frame, Pixels, Recognition, Sighting

MAX_KEPT = 240
"""Limit for the frames in memory during a search, about 30 MB. Beyond it, every second
one is dropped."""

MAX_CHOSEN = 40
"""Limit for the frames that are chosen of a video."""


class SmallPicture(NamedTuple):
    """A picture (JPEG) of a frame."""

    jpeg: bytes
    scale: float
    """Its width divided by that of the frame."""


class KeptFrame(NamedTuple):
    """A frame, and the faces in it. Their boxes are in pixels of the frame."""

    time_s: float
    picture: SmallPicture
    sightings: tuple[Sighting, ...]


class FrameBook:
    """A LookObserver that keeps frames with faces that can be judged.

    Safe to share between the two threads of a search.
    """

    def __init__(self, shrink: Callable[[Pixels], SmallPicture], max_kept: int = MAX_KEPT) -> None:
        self._shrink = shrink
        self._max_kept = max_kept
        self._kept: list[KeptFrame] = []
        self._lock = Lock()

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def see(self, frame: Frame, sightings: Sequence[Sighting]) -> None:
        if all(sighting.face.problem for sighting in sightings):
            return
        kept = KeptFrame(frame.time_s, self._shrink(frame.pixels), tuple(sightings))
        with self._lock:
            self._kept.append(kept)
            if len(self._kept) > self._max_kept:
                self._kept.sort(key=lambda each: each.time_s)
                pairs = (self._kept[n : n + 2] for n in range(0, len(self._kept), 2))
                self._kept = [max(pair, key=_worth) for pair in pairs]

    def chosen(self, recognition: Recognition) -> list[KeptFrame]:
        """The frames that matter, in order of time: for each person the one that shows them best,
        and the first one. If there are too many, the people who are seen longest come first."""
        places = {id(each): place for place, each in enumerate(recognition.sightings)}
        with self._lock:
            kept = sorted(self._kept, key=lambda each: each.time_s)
        shown: dict[int, list[tuple[float, KeptFrame]]] = {}
        """For each person the frames, with how well each shows the face."""
        for frame in kept:
            for sighting in frame.sightings:
                place = places.get(id(sighting))
                person = None if place is None else recognition.persons[place]
                if person is not None:
                    shown.setdefault(person, []).append((worth(sighting.face.quality), frame))
        people = [shown[person] for person in sorted(shown)]
        best = [max(frames, key=lambda each: each[0])[1] for frames in people]
        first = [frames[0][1] for frames in people]
        chosen = {id(frame): frame for frame in [*best, *first]}
        return sorted(list(chosen.values())[:MAX_CHOSEN], key=lambda frame: frame.time_s)


def _worth(frame: KeptFrame) -> float:
    return sum(worth(sighting.face.quality) for sighting in frame.sightings)
