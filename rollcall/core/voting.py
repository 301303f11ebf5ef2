"""From faces in single frames to people in a video.

1. *Tracks*: sightings whose encodings are nearly equal are one face, seen several times.
2. *Vote*: in each track, every sighting within the tolerance votes for its nearest identity.
3. A track without a vote that could be a named person of this video, seen badly, is that person.
4. Tracks of one name are one person; every other track is one unknown person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rollcall.core.types import Encodings, Match, Person, Sighting

SAME_FACE_DISTANCE = 0.45
"""Two sightings of one face within a video. Measured on eight real clips, half a second apart:
0.08 to 0.44; different people never came below 0.64."""

CLEAR_MARGIN = 0.1
"""An identity that is this much nearer than the next one needs no second frame."""


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

    def distance_to(self, encoding: Encodings) -> float:
        return float(np.linalg.norm(self.mean() - encoding))

    def times(self) -> set[float]:
        return {sighting.time_s for sighting in self.sightings}


def accepted(match: Match | None, tolerance: float) -> bool:
    """Whether the nearest identity is near enough to be the same person."""
    return match is not None and match.distance <= tolerance


def is_clear(sightings: Sequence[Sighting], tolerance: float) -> bool:
    """Whether a frame answers the question alone: faces, and no doubt about any of them."""
    return bool(sightings) and all(
        s.match is not None and s.match.distance <= tolerance and s.match.margin >= CLEAR_MARGIN
        for s in sightings
    )


def people(sightings: Iterable[Sighting], tolerance: float) -> tuple[Person, ...]:
    """Who is in the video: most frames first, then the nearest. `sightings` in order of time."""
    tracks = _tracks(sightings)
    for track in tracks:
        track.name = _vote(track, tolerance)
    _recognise_bad_views(tracks, tolerance)
    named = sorted({track.name for track in tracks if track.name})
    groups = [[t for t in tracks if t.name == name] for name in named]
    groups += [[track] for track in tracks if not track.name]
    return tuple(sorted((_person(group) for group in groups), key=_rank))


def _tracks(sightings: Iterable[Sighting]) -> list[Track]:
    tracks: list[Track] = []
    for sighting in sightings:
        track = _nearest_track(tracks, sighting) or Track()
        if not track.sightings:
            tracks.append(track)
        track.add(sighting)
    return tracks


def _nearest_track(tracks: Iterable[Track], sighting: Sighting) -> Track | None:
    """Not one that was already seen in this frame: nobody is in a picture twice."""
    found, nearest = None, SAME_FACE_DISTANCE
    for track in tracks:
        distance = track.distance_to(sighting.face.encoding)
        if distance <= nearest and track.sightings[-1].time_s != sighting.time_s:
            found, nearest = track, distance
    return found


def _vote(track: Track, tolerance: float) -> str:
    """The name with most votes, the nearer one of two with as many; empty without a vote."""
    matches = [s.match for s in track.sightings if s.match and accepted(s.match, tolerance)]
    votes = Counter(match.name for match in matches)
    nearest = {name: min(m.distance for m in matches if m.name == name) for name in votes}
    return min(votes, key=lambda name: (-votes[name], nearest[name]), default="")


def _recognise_bad_views(tracks: Sequence[Track], tolerance: float) -> None:
    """The nearest pair first. What is absorbed counts as seen: nobody is in a picture twice."""
    known = [track for track in tracks if track.name]
    seen = {name: _times(t for t in known if t.name == name) for name in {t.name for t in known}}
    pairs = [(o.distance_to(t.mean()), t, o) for t in tracks if not t.name for o in known]
    for distance, track, other in sorted(pairs, key=lambda pair: pair[0]):
        if distance <= tolerance and not track.name and not seen[other.name] & track.times():
            track.name = other.name
            seen[other.name] |= track.times()


def _times(tracks: Iterable[Track]) -> set[float]:
    return set[float]().union(*(track.times() for track in tracks))


def _person(tracks: Sequence[Track]) -> Person:
    sightings = [sighting for track in tracks for sighting in track.sightings]
    times = {sighting.time_s for sighting in sightings}
    name = tracks[0].name
    distances = [s.match.distance for s in sightings if s.match and name in ("", s.match.name)]
    return Person(name, min(times), max(times), len(times), min(distances, default=None))


def _rank(person: Person) -> tuple[int, float, float, str]:
    distance = float("inf") if person.distance is None else person.distance
    return -person.frames, distance, person.first_seen_s, person.name
