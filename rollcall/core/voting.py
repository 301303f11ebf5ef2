"""From faces in single frames to people in a video.

1. *Tracks*: sightings whose encodings are nearly equal are one face, seen several times.
2. *Vote*: in each track, every sighting within the tolerance votes for its nearest identity. Half
   of the sightings have to agree, or one has to be far within the tolerance.
3. Two faces in one frame are two people: of two tracks of one name that meet in a frame, the nearer
   keeps it, unless both are far within the tolerance (a speaker and the screen behind).
4. A track without a name that lies within the tolerance of another track, and never meets it in a
   frame, is the same person, seen badly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rollcall.core.errors import VideoTooLarge
from rollcall.core.types import Encodings, Match, Person, Sighting

SAME_FACE_DISTANCE = 0.45
"""Two sightings of one face within a video. Measured on eight real clips, half a second apart:
0.08 to 0.44; different people never came below 0.64."""

MAX_TRACKS = 2000
"""Of one video. Who shows more, or noise that passes for faces, is told so."""

CLEAR_MARGIN = 0.1
"""An identity that is this much nearer than the next one needs no second frame, and one that is
this far within the tolerance needs no majority."""

LEAST_MARGIN = 0.02
"""Below, two identities are equally near, and naming one of them would be a guess."""


@dataclass(slots=True)
class Track:
    """One face over time."""

    sightings: list[Sighting] = field(default_factory=list)
    total: Encodings = field(default_factory=lambda: np.zeros(0))
    name: str = ""

    def add(self, sighting: Sighting) -> None:
        encoding = sighting.face.encoding
        self.total = self.total + encoding if self.sightings else encoding
        self.sightings.append(sighting)

    def mean(self) -> Encodings:
        return self.total / len(self.sightings)

    def nearest_to(self, name: str) -> float:
        """Least distance of a sighting to that person; infinite when none is nearest to them."""
        found = (s.match.distance for s in self.sightings if s.match and s.match.name == name)
        return min(found, default=float("inf"))

    def times(self) -> set[float]:
        return {sighting.time_s for sighting in self.sightings}


def accepted(match: Match | None, tolerance: float) -> bool:
    """Whether the nearest identity is near enough to be the same person, and no toss-up."""
    return match is not None and match.distance <= tolerance and match.margin >= LEAST_MARGIN


def is_clear(sightings: Sequence[Sighting], tolerance: float) -> bool:
    """Whether a frame answers the question alone: faces, and no doubt about any of them."""
    return bool(sightings) and all(
        s.match is not None and accepted(s.match, tolerance) and s.match.margin >= CLEAR_MARGIN
        for s in sightings
    )


def people(sightings: Iterable[Sighting], tolerance: float) -> tuple[Person, ...]:
    """Who is in the video: most frames first, then the nearest. `sightings` in order of time."""
    tracks = _tracks(sightings)
    for track in tracks:
        track.name = _vote(track, tolerance)
    _part_lookalikes(tracks, tolerance)
    return tuple(sorted((_person(group) for group in _groups(tracks, tolerance)), key=_rank))


class _Tracks:
    """All of a video, found by one matrix of their means."""

    def __init__(self, size: int) -> None:
        self.all: list[Track] = []
        self._means = np.empty((8, size))
        self._last_s = np.empty(8)

    def add(self, sighting: Sighting) -> None:
        """To the nearest track, or to a new one. Raises VideoTooLarge."""
        index = self._nearest(sighting)
        if index is None:
            index = self._begin()
        track = self.all[index]
        track.add(sighting)
        self._means[index], self._last_s[index] = track.mean(), sighting.time_s

    def _nearest(self, sighting: Sighting) -> int | None:
        """Not one that was already seen in this frame: nobody is in a picture twice."""
        if not self.all:
            return None
        count = len(self.all)
        distances = np.linalg.norm(self._means[:count] - sighting.face.encoding, axis=1)
        distances[self._last_s[:count] == sighting.time_s] = np.inf
        best = int(distances.argmin())
        return best if distances[best] <= SAME_FACE_DISTANCE else None

    def _begin(self) -> int:
        count = len(self.all)
        if count == MAX_TRACKS:
            raise VideoTooLarge(f"the video shows more than {MAX_TRACKS} different faces; cut it")
        if count == len(self._means):
            self._means = np.concatenate([self._means, np.empty_like(self._means)])
            self._last_s = np.concatenate([self._last_s, np.empty_like(self._last_s)])
        self.all.append(Track())
        return count


def _tracks(sightings: Iterable[Sighting]) -> list[Track]:
    found: _Tracks | None = None
    for sighting in sightings:
        found = found or _Tracks(sighting.face.encoding.size)
        found.add(sighting)
    return found.all if found else []


def _vote(track: Track, tolerance: float) -> str:
    """The name with most votes, of two with as many the nearer; empty without enough of them."""
    matches = [s.match for s in track.sightings if s.match and accepted(s.match, tolerance)]
    votes = Counter(match.name for match in matches)
    name = min(votes, key=lambda each: (-votes[each], track.nearest_to(each)), default="")
    enough = 2 * votes[name] >= len(track.sightings)
    return name if enough or track.nearest_to(name) <= tolerance - CLEAR_MARGIN else ""


def _part_lookalikes(tracks: Sequence[Track], tolerance: float) -> None:
    taken: dict[str, set[float]] = {}
    for track in sorted(tracks, key=lambda each: each.nearest_to(each.name)):
        times = taken.setdefault(track.name, set())
        doubtful = track.nearest_to(track.name) > tolerance - CLEAR_MARGIN
        if track.name and doubtful and times & track.times():
            track.name = ""
        else:
            times |= track.times()


def _groups(tracks: Sequence[Track], tolerance: float) -> list[list[Track]]:
    """Tracks by person. The nearest pair is joined first; what is joined counts as seen."""
    by_name: dict[str, list[Track]] = {}
    for track in tracks:
        by_name.setdefault(track.name, []).append(track)
    groups = {id(t): by_name[t.name] if t.name else [t] for t in tracks}
    for a, b in _near_pairs(tracks, tolerance):
        left, right = groups[id(a)], groups[id(b)]
        if left is not right and _may_be_one(left, right):
            left += right
            groups |= {id(track): left for track in right}
    return list({id(group): group for group in groups.values()}.values())


def _near_pairs(tracks: Sequence[Track], tolerance: float) -> list[tuple[Track, Track]]:
    """Those within the tolerance, the nearest first. Each row of distances is one product, so that
    a crowd costs neither minutes nor gigabytes."""
    means = np.array([track.mean() for track in tracks])
    pairs: list[tuple[float, int, int]] = []
    for first in range(len(tracks) - 1):
        distances = np.linalg.norm(means[first + 1 :] - means[first], axis=1)
        near = np.flatnonzero(distances <= tolerance)
        pairs += [(float(distances[other]), first, first + 1 + int(other)) for other in near]
    return [(tracks[a], tracks[b]) for _, a, b in sorted(pairs)]


def _may_be_one(left: Sequence[Track], right: Sequence[Track]) -> bool:
    """Two named people are two, and so are two faces of one frame."""
    named = [any(track.name for track in group) for group in (left, right)]
    return not all(named) and not _times(left) & _times(right)


def _times(tracks: Iterable[Track]) -> set[float]:
    return set[float]().union(*(track.times() for track in tracks))


def _person(tracks: Sequence[Track]) -> Person:
    sightings = [sighting for track in tracks for sighting in track.sightings]
    times = {sighting.time_s for sighting in sightings}
    name = max(track.name for track in tracks)
    distances = [s.match.distance for s in sightings if s.match and name in ("", s.match.name)]
    return Person(name, min(times), max(times), len(times), min(distances, default=None))


def _rank(person: Person) -> tuple[int, float, float, str]:
    distance = float("inf") if person.distance is None else person.distance
    return -person.frames, distance, person.first_seen_s, person.name
