"""Turns faces in single frames into people of a video.

A *sighting* is a face in one frame.

1. *Tracks*: sightings with nearly equal encodings are one face, seen several times.
2. *Decision*: all looks at one track together name a person, or nobody (`core/decision.py`).
3. *Lookalikes*: two faces in one frame are usually two people. If two tracks with the same name
   have sightings in the same frame, only the nearer track keeps the name. The other track keeps the
   name too if it is far within the tolerance, as for a person who is also on a screen in the
   picture.
4. *Groups*: tracks with the same name are one person. A track without a name joins another track if
   they are near enough and never in the same frame: then it is the same person, seen badly.
5. *Ignored people*: a group with a face that somebody ignored is left out of the result.

docs/decisions/0004 has the reasons.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from rollcall.core.decision import DecisionRule, Look
from rollcall.core.errors import TooManyFaces
from rollcall.core.presence import intervals_of
from rollcall.core.types import Certainty, Encodings, Person, Sighting

MAX_TRACKS = 2000
"""Largest number of tracks in one video, because the cost of comparing all tracks grows with the
square of their number. The limit also ends work on videos in which the detector takes noise for
faces."""

CERTAINTIES: tuple[Certainty, ...] = ("clear", "likely", "doubtful", "")
"""All values, from the surest to none."""


class Found(NamedTuple):
    """The people of a video, and who is in each sighting."""

    people: tuple[Person, ...]
    persons: tuple[int | None, ...]
    """For each sighting, the place of its person in `people`; None for a face that cannot be
    judged, or whose person is left out."""
    tracks: tuple[int | None, ...]
    """For each sighting, the number of its track; None for a face that cannot be judged."""
    ignored: int
    """Number of people who are left out, because somebody ignored their faces."""


@dataclass(slots=True)
class Track:
    """One face over time. The name is empty until it is decided, and for an unknown person."""

    sightings: list[Sighting] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """The place of each sighting among all sightings of the video."""
    total: Encodings = field(default_factory=lambda: np.zeros(0))
    """Sum of the sightings' encodings."""
    name: str = ""
    certainty: Certainty = ""
    ignored: bool = False

    def add(self, place: int, sighting: Sighting, encoding: Encodings) -> None:
        self.total = self.total + encoding if self.sightings else encoding
        self.sightings.append(sighting)
        self.places.append(place)

    def mean(self) -> Encodings:
        return self.total / len(self.sightings)

    def distance_to(self, name: str) -> float:
        """The smallest distance of a sighting to this person; infinite if no sighting matches."""
        distances = (s.match.distance for s in self.sightings if s.match and s.match.name == name)
        return min(distances, default=float("inf"))

    def times(self) -> set[float]:
        return {sighting.time_s for sighting in self.sightings}


def is_clear(sightings: Sequence[Sighting], decision: DecisionRule) -> bool:
    """Whether this frame is enough: it has faces that can be judged, and all of them are clear."""
    judged = [s for s in sightings if s.face.encoding is not None]
    return bool(judged) and all(decision.is_clear(Look(s.match, s.face.quality)) for s in judged)


def people(
    sightings: Sequence[Sighting],
    decision: DecisionRule,
    looks_s: Sequence[float],
    end_s: float,
    cuts_s: Sequence[float] = (),
) -> Found:
    """The people in a video, sorted by the number of frames that show them, then by distance.

    `sightings` and `looks_s` (the times of all looks) are in order of time. `end_s` and `cuts_s`
    are as in `intervals_of`. Faces that cannot be judged are left out. Raises TooManyFaces.
    """
    tracks = tracks_of(sightings, decision.space.same_face_distance)
    for track in tracks:
        # A followed face has the encoding of an earlier look, which must not vote twice.
        seen = [s for s in track.sightings if not s.followed]
        looks = [Look(s.match, s.face.quality) for s in seen]
        encodings = [s.face.encoding for s in seen if s.face.encoding is not None]
        decided = decision.decide_unless_denied(looks, encodings)
        track.name, track.certainty, track.ignored = decided
    _separate_lookalikes(tracks, decision.tolerance - decision.space.clear_margin)
    groups = _groups(tracks, decision.space.tolerance)
    shown = [group for group in groups if not _is_ignored(group)]
    persons = [(_person(group, looks_s, end_s, cuts_s), group) for group in shown]
    persons.sort(key=lambda pair: _rank(pair[0]))
    return Found(
        tuple(person for person, _ in persons),
        _numbers(len(sightings), (group for _, group in persons)),
        _numbers(len(sightings), ([track] for track in tracks)),
        len(groups) - len(shown),
    )


def _numbers(count: int, groups: Iterable[Sequence[Track]]) -> tuple[int | None, ...]:
    """The number of the group that each of `count` sightings belongs to."""
    numbers: list[int | None] = [None] * count
    for number, group in enumerate(groups):
        for track in group:
            for place in track.places:
                numbers[place] = number
    return tuple(numbers)


class _Tracks:
    """The tracks of a video. For speed, their mean encodings are the rows of one matrix."""

    def __init__(self, size: int, same_face_distance: float) -> None:
        self.all: list[Track] = []
        self._same_face_distance = same_face_distance
        self._means = np.empty((8, size))
        self._last_s = np.empty(8)

    def add(self, place: int, sighting: Sighting, encoding: Encodings) -> None:
        """Add a sighting to the nearest track, or to a new one. Raises TooManyFaces."""
        index = self._nearest(sighting.time_s, encoding)
        if index is None:
            index = self._new_track()
        track = self.all[index]
        track.add(place, sighting, encoding)
        self._means[index], self._last_s[index] = track.mean(), sighting.time_s

    def _nearest(self, time_s: float, encoding: Encodings) -> int | None:
        """The index of the nearest track; None if every track is too far away."""
        if not self.all:
            return None
        count = len(self.all)
        distances = np.linalg.norm(self._means[:count] - encoding, axis=1)
        # Nobody is in a picture twice, so a track gets at most one face of each frame.
        distances[self._last_s[:count] == time_s] = np.inf
        best = int(distances.argmin())
        return best if distances[best] <= self._same_face_distance else None

    def _new_track(self) -> int:
        count = len(self.all)
        if count == MAX_TRACKS:
            raise TooManyFaces(
                f"the video shows more than {MAX_TRACKS} different faces; cut it into parts"
            )
        if count == len(self._means):  # full: double the capacity
            self._means = np.concatenate([self._means, np.empty_like(self._means)])
            self._last_s = np.concatenate([self._last_s, np.empty_like(self._last_s)])
        self.all.append(Track())
        return count


def tracks_of(sightings: Iterable[Sighting], same_face_distance: float) -> list[Track]:
    """The tracks of faces that can be judged. Raises TooManyFaces."""
    tracks: _Tracks | None = None
    for place, sighting in enumerate(sightings):
        encoding = sighting.face.encoding
        if encoding is None:
            continue
        tracks = tracks or _Tracks(encoding.size, same_face_distance)
        tracks.add(place, sighting, encoding)
    return tracks.all if tracks else []


def _separate_lookalikes(tracks: Sequence[Track], certain_distance: float) -> None:
    """Remove the name of a track if a nearer track with this name is in the same frame.

    A track within `certain_distance` of the person keeps the name in any case.
    """
    times_by_name: dict[str, set[float]] = {}
    for track in sorted(tracks, key=lambda track: track.distance_to(track.name)):
        times = times_by_name.setdefault(track.name, set())
        doubtful = track.distance_to(track.name) > certain_distance
        if track.name and doubtful and times & track.times():
            track.name, track.certainty = "", ""
        else:
            times |= track.times()


def _groups(tracks: Sequence[Track], tolerance: float) -> list[list[Track]]:
    """The tracks of each person. The nearest pairs are joined first."""
    by_name: dict[str, list[Track]] = {}
    for track in tracks:
        by_name.setdefault(track.name, []).append(track)
    groups = {id(t): by_name[t.name] if t.name else [t] for t in tracks}
    for a, b in _near_pairs(tracks, tolerance):
        left, right = groups[id(a)], groups[id(b)]
        # The groups include all tracks that have joined so far, and the times of these tracks.
        if left is not right and _may_be_one_person(left, right):
            left += right
            groups |= {id(track): left for track in right}
    return list({id(group): group for group in groups.values()}.values())


def _near_pairs(tracks: Sequence[Track], tolerance: float) -> list[tuple[Track, Track]]:
    """All pairs within the tolerance, the nearest first."""
    means = np.array([track.mean() for track in tracks])
    pairs: list[tuple[float, int, int]] = []
    # Row by row, because all differences of 2000 x 2000 tracks would take 4 GB for dlib.
    for first in range(len(tracks) - 1):
        distances = np.linalg.norm(means[first + 1 :] - means[first], axis=1)
        near = np.flatnonzero(distances <= tolerance)
        pairs += [(float(distances[other]), first, first + 1 + int(other)) for other in near]
    return [(tracks[a], tracks[b]) for _, a, b in sorted(pairs)]


def _may_be_one_person(left: Sequence[Track], right: Sequence[Track]) -> bool:
    """Whether the groups can be one person: they are never in the same frame, and at most one has a
    name, or neither has one and both are ignored."""
    groups = (left, right)
    named = [any(track.name for track in group) for group in groups]
    decided = [has_name or _is_ignored(each) for has_name, each in zip(named, groups, strict=True)]
    if (any(named) and all(decided)) or _times(left) & _times(right):
        return False
    if not any(named):
        return True
    known, other = (left, right) if named[0] else (right, left)
    return _is_near_name(other, max(track.name for track in known))


def _is_near_name(tracks: Sequence[Track], name: str) -> bool:
    """Whether the person is the nearest one to any look. Otherwise others are nearer all the time,
    or a *not* verdict is about a face like this."""
    return any(track.distance_to(name) < float("inf") for track in tracks)


def _is_ignored(tracks: Iterable[Track]) -> bool:
    return any(track.ignored for track in tracks)


def _sightings(tracks: Iterable[Track]) -> tuple[Sighting, ...]:
    return tuple(sighting for track in tracks for sighting in track.sightings)


def _times(tracks: Iterable[Track]) -> set[float]:
    return set[float]().union(*(track.times() for track in tracks))


def _person(
    tracks: Sequence[Track], looks_s: Sequence[float], end_s: float, cuts_s: Sequence[float]
) -> Person:
    """The person whom a group of tracks shows. The name is as sure as in the surest track."""
    sightings = _sightings(tracks)
    times = {sighting.time_s for sighting in sightings}
    name = max(track.name for track in tracks)  # a group has at most one name that is not empty
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
    """The sort key of contract 3.3: most frames first, then the smallest distance."""
    distance = float("inf") if person.distance is None else person.distance
    return -person.frames, distance, person.first_seen_s, person.name
