"""Collects small pictures of faces during a search, and chooses some of them at the end.

A picture has to be cut out during the look, because the decoder reuses the memory of frames. Only
at the end is it known which tracks and people there are. So every face that can be judged and is
not followed gets a picture at first. When there are too many, the best of each track so far stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from threading import Lock
from typing import NamedTuple

from rollcall.core.errors import TooManyFaces
from rollcall.core.face_worth import worth
from rollcall.core.types import Box, Pixels, Recognition, Sighting
from rollcall.core.voting import MAX_TRACKS, tracks_of

CutOut = Callable[[Pixels, Box], bytes]
"""Makes a small picture (JPEG) of the face in this box."""

MAX_PICTURES = MAX_TRACKS
"""Limit for the stored pictures of a video, so that every track can have one. They take up to 6 MB,
a tenth of what the encodings of a video with so many faces take."""

MAX_PER_TRACK = 8
"""Limit for the pictures of one track, so that a page has one near to most moments."""

MAX_COLLECTED = 2 * MAX_PICTURES
"""Limit for the pictures in memory during a search, about 12 MB. Beyond it, the best stay."""


class _Cut(NamedTuple):
    sighting: Sighting
    jpeg: bytes


class PictureBook:
    """The pictures of one search. Safe to share between the two threads of a search."""

    def __init__(self, cut_out: CutOut, same_face_distance: float) -> None:
        self._cut_out = cut_out
        self._same_face_distance = same_face_distance
        self._cuts: list[_Cut] = []
        self._lock = Lock()

    def clear(self) -> None:
        """Forget the pictures of an earlier search."""
        with self._lock:
            self._cuts.clear()

    def add(self, pixels: Pixels, sighting: Sighting) -> None:
        """Cut the face out of the frame."""
        cut = _Cut(sighting, self._cut_out(pixels, sighting.face.box))
        with self._lock:
            self._cuts.append(cut)
            if len(self._cuts) > MAX_COLLECTED:
                self._cuts = self._best()

    def chosen(self, recognition: Recognition) -> dict[int, bytes]:
        """Pictures by the place of their sighting in `recognition.sightings`.

        Every track has at least one, unless its pictures were given up during the search.
        """
        jpegs = {id(cut.sighting): cut.jpeg for cut in self._cuts}
        by_track: dict[int, list[int]] = {}
        for place, sighting in enumerate(recognition.sightings):
            track = recognition.tracks[place]
            if track is not None and id(sighting) in jpegs:
                by_track.setdefault(track, []).append(place)
        sightings = recognition.sightings
        chosen = (
            place
            for places in by_track.values()
            for place in _spread(places, sightings, _per_track(len(by_track)))
        )
        return {place: jpegs[id(sightings[place])] for place in sorted(chosen)}

    def _best(self) -> list[_Cut]:
        """The best pictures of each track, as far as the tracks are known."""
        cuts = sorted(self._cuts, key=lambda cut: cut.sighting.time_s)
        sightings = [cut.sighting for cut in cuts]
        try:
            tracks = tracks_of(sightings, self._same_face_distance)
        except TooManyFaces:
            # Without the looks between them, two looks at one face may be two tracks. Whether the
            # video really shows too many faces is decided from all looks.
            return cuts[::2]
        share = _per_track(len(tracks))
        kept = (place for track in tracks for place in _spread(track.places, sightings, share))
        return [cuts[place] for place in sorted(kept)]


def _per_track(tracks: int) -> int:
    return max(1, min(MAX_PER_TRACK, MAX_PICTURES // max(1, tracks)))


def _spread(places: Sequence[int], sightings: Sequence[Sighting], count: int) -> list[int]:
    """The best look in each of `count` parts of a track; `places` are in order of time."""
    bounds = [len(places) * part // count for part in range(count + 1)]
    parts = (places[start:end] for start, end in pairwise(bounds))
    return [
        max(part, key=lambda place: worth(sightings[place].face.quality)) for part in parts if part
    ]
