"""From faces in single frames to people in a video.

1. *Tracks*: sightings whose encodings are nearly equal are one face, seen several times.
2. *Decision*: the looks at one track together name a person, or nobody (`core/decision.py`).
3. Two faces in one frame are two people: of two tracks of one name that meet in a frame, the nearer
   keeps it, unless both are far within the tolerance (a speaker and the screen behind).
4. A track without a name that is near enough to another track, and never meets it in a frame, is
   the same person, seen badly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rollcall.core.decision import Decision, Look
from rollcall.core.errors import VideoTooLarge
from rollcall.core.presence import intervals_of
from rollcall.core.types import Certainty, Encodings, Person, Sighting

MAX_TRACKS = 2000
"""Limit for one video. One with more different faces is refused, and so is noise that passes for
faces."""

CERTAINTIES: tuple[Certainty, ...] = ("clear", "likely", "doubtful", "")
"""From the surest on."""


@dataclass(slots=True)
class Track:
    """One face over time."""

    sightings: list[Sighting] = field(default_factory=list)
    total: Encodings = field(default_factory=lambda: np.zeros(0))
    name: str = ""
    certainty: Certainty = ""

    def add(self, sighting: Sighting, encoding: Encodings) -> None:
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


def is_clear(sightings: Sequence[Sighting], decision: Decision) -> bool:
    """Whether a frame answers the question alone: every face in it that can be judged is clear, and
    there is at least one."""
    judged = [s for s in sightings if s.face.encoding is not None]
    return bool(judged) and all(decision.is_clear(Look(s.match, s.face.quality)) for s in judged)


def people(
    sightings: Iterable[Sighting],
    decision: Decision,
    looks_s: Sequence[float],
    end_s: float,
    cuts_s: Sequence[float] = (),
) -> tuple[Person, ...]:
    """Who is in the video: most frames first, then the nearest.

    `sightings` and `looks_s`, the times of all looks, are in order of time; `end_s` and `cuts_s`
    are as for `intervals_of`. Faces that cannot be judged are left out.
    """
    tracks = _tracks(sightings, decision.space.same_face_distance)
    for track in tracks:
        looks = [Look(s.match, s.face.quality) for s in track.sightings if not s.followed]
        track.name, track.certainty = decision.decide(looks)
    _part_lookalikes(tracks, decision.tolerance - decision.space.clear_margin)
    groups = _groups(tracks, decision.space.tolerance)
    found = [_person(group, looks_s, end_s, cuts_s) for group in groups]
    return tuple(sorted(found, key=_rank))


class _Tracks:
    """All tracks of a video, found by one matrix of their means."""

    def __init__(self, size: int, same_face_distance: float) -> None:
        self.all: list[Track] = []
        self._same_face_distance = same_face_distance
        self._means = np.empty((8, size))
        self._last_s = np.empty(8)

    def add(self, sighting: Sighting, encoding: Encodings) -> None:
        """To the nearest track, or to a new one. Raises VideoTooLarge."""
        index = self._nearest(sighting.time_s, encoding)
        if index is None:
            index = self._begin()
        track = self.all[index]
        track.add(sighting, encoding)
        self._means[index], self._last_s[index] = track.mean(), sighting.time_s

    def _nearest(self, time_s: float, encoding: Encodings) -> int | None:
        """Not one that was already seen in this frame: nobody is in a picture twice."""
        if not self.all:
            return None
        count = len(self.all)
        distances = np.linalg.norm(self._means[:count] - encoding, axis=1)
        distances[self._last_s[:count] == time_s] = np.inf
        best = int(distances.argmin())
        return best if distances[best] <= self._same_face_distance else None

    def _begin(self) -> int:
        count = len(self.all)
        if count == MAX_TRACKS:
            raise VideoTooLarge(f"the video shows more than {MAX_TRACKS} different faces; cut it")
        if count == len(self._means):
            self._means = np.concatenate([self._means, np.empty_like(self._means)])
            self._last_s = np.concatenate([self._last_s, np.empty_like(self._last_s)])
        self.all.append(Track())
        return count


def _tracks(sightings: Iterable[Sighting], same_face_distance: float) -> list[Track]:
    found: _Tracks | None = None
    for sighting in sightings:
        encoding = sighting.face.encoding
        if encoding is None:
            continue
        found = found or _Tracks(encoding.size, same_face_distance)
        found.add(sighting, encoding)
    return found.all if found else []


def _part_lookalikes(tracks: Sequence[Track], far_within: float) -> None:
    """`far_within` is a distance that leaves no doubt about a name."""
    taken: dict[str, set[float]] = {}
    for track in sorted(tracks, key=lambda each: each.nearest_to(each.name)):
        times = taken.setdefault(track.name, set())
        doubtful = track.nearest_to(track.name) > far_within
        if track.name and doubtful and times & track.times():
            track.name, track.certainty = "", ""
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


def _person(
    tracks: Sequence[Track], looks_s: Sequence[float], end_s: float, cuts_s: Sequence[float]
) -> Person:
    sightings = [sighting for track in tracks for sighting in track.sightings]
    times = {sighting.time_s for sighting in sightings}
    name = max(track.name for track in tracks)
    distances = [s.match.distance for s in sightings if s.match and name in ("", s.match.name)]
    intervals = intervals_of(times, looks_s, end_s, cuts_s)
    return Person(
        name,
        intervals[0][0],
        intervals[-1][1],
        len(times),
        min(distances, default=None),
        intervals,
        min((track.certainty for track in tracks), key=CERTAINTIES.index),
    )


def _rank(person: Person) -> tuple[int, float, float, str]:
    distance = float("inf") if person.distance is None else person.distance
    return -person.frames, distance, person.first_seen_s, person.name
