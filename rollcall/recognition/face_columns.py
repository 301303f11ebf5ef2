"""The stored faces of a video as columns: what they are, and what can be asked of them.

`stored_faces.py` makes them, and turns them into bytes and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollcall.core.contradictions import are_among
from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.face_worth import worth
from rollcall.core.gallery_checks import MAX_COMPONENT
from rollcall.core.types import Box, Encodings, Face, FaceQuality, Match, Recognition, Sighting
from rollcall.core.voting import MAX_TRACKS
from rollcall.recognition.deciding import SearchFacts

MAX_ENCODINGS_PER_PERSON = 5
"""How many encodings of each person in a video a search compares. More would hardly find more,
because each stands for a track, and the looks of one track are nearly equal."""

PROBLEMS = ("", "too small", "blurred", "turned")
"""The texts of `Face.problem`. The column `problems` has their places in this list."""

NOBODY = -1
"""The number in `rows`, `persons` and `tracks` of a face that has no row, no person or no track."""

ONE_PER_FACE = ("problems", "followed", "rows", "persons", "tracks")
"""The columns with one number for each face, beside `times_s`."""

MAX_JPEG_BYTES = 32 << 10
"""Limit for one picture. Pictures of 96 pixels have about 3 KB."""

JPEG_START = b"\xff\xd8\xff"
"""First bytes of every JPEG."""

MAX_TIME_S = 1e9
"""Limit for times in a video, in seconds. No video is that long."""

NO_LANDMARKS = np.zeros((5, 2))
NO_LANDMARKS.setflags(write=False)


class StoredPicture(NamedTuple):
    """A small picture of one sighting."""

    sighting: int
    time_s: float
    person: int | None
    jpeg: bytes


@dataclass(frozen=True, slots=True, eq=False)
class StoredFaces:
    """All faces of a video. The columns are parallel to `Recognition.sightings`."""

    etag: str
    """The etag of the video."""
    space: EncodingSpace
    facts: SearchFacts
    names: tuple[str, ...]
    """The names of the people, in the order of the report; empty for an unknown person."""
    times_s: NDArray[np.float64]
    boxes: NDArray[np.int32]
    """Shape (n, 4), in the order of `Box`."""
    qualities: NDArray[np.float64]
    """Shape (n, 4), in the order of `FaceQuality`."""
    problems: NDArray[np.uint8]
    followed: NDArray[np.bool_]
    rows: NDArray[np.int32]
    """The row of `encodings`. A followed face shares the row of the look that it was taken from."""
    persons: NDArray[np.int32]
    """The places in `names`."""
    tracks: NDArray[np.int32]
    encodings: NDArray[np.float32]
    """Shape (m, space.size)."""
    pictured: NDArray[np.int32]
    """The sightings that have a picture, in order."""
    jpegs: tuple[bytes, ...]
    """One for each entry of `pictured`."""

    def __len__(self) -> int:
        return len(self.times_s)

    def sightings(self, matches: Sequence[Match | None]) -> tuple[Sighting, ...]:
        """The sightings, with one match for each row of `encodings`. Landmarks are not stored."""
        encodings = list(self.encodings.astype(np.float64))
        columns = (self.times_s, self.boxes, self.qualities, self.problems, self.followed)
        found = []
        lists = (column.tolist() for column in (*columns, self.rows))
        for time_s, box, quality, problem, followed, row in zip(*lists, strict=True):
            encoding = encodings[row] if row >= 0 else None
            measured = FaceQuality(int(quality[0]), *quality[1:])
            face = Face(Box(*box), NO_LANDMARKS, measured, encoding, PROBLEMS[problem])
            match = matches[row] if row >= 0 else None
            found.append(Sighting(time_s, face, match, followed))
        return tuple(found)

    def appearance_encodings(self, number: int) -> tuple[Encodings, list[float]]:
        """Encodings of one person, shape (n, size), and the times of these looks.

        There is one for each of the person's longest tracks, from the look that shows the face
        best.
        """
        return self._at(self._best_of_tracks(number))

    def verdict_encodings(self, number: int, count: int) -> tuple[Encodings, list[float]]:
        """As `appearance_encodings`, with further looks if these are fewer than `count`.

        The looks are divided into `count` parts of equal length, and the best of each is taken
        unless it is nearly the same as one before. So a verdict knows the face from other sides.
        """
        chosen = self._best_of_tracks(number)
        looks = np.flatnonzero((self.persons == number) & (self.rows >= 0))
        for part in np.array_split(looks, count):
            if len(part) and len(chosen) < count:
                best = max(part.tolist(), key=self._worth)
                if not are_among(self._at([best])[0], self._at(chosen)[0])[0]:
                    chosen.append(best)
        return self._at(chosen)

    def for_search(self) -> StoredFaces:
        """A small part: the looks that `appearance_encodings` returns, and every other encoding of
        faces that show no unknown person, as a face of nobody. There are no pictures."""
        best = [
            place for number in range(len(self.names)) for place in self._best_of_tracks(number)
        ]
        is_best = np.isin(np.arange(len(self)), best)
        shows_no_unknown = np.array(
            [bool(name) for name in self.names] + [True]
        )  # the last: NOBODY
        others = np.flatnonzero(shows_no_unknown[self.persons] & (self.rows >= 0) & ~is_best)
        _, first = np.unique(self.rows[others], return_index=True)
        kept = is_best.copy()
        kept[others[first]] = True
        persons = np.where(is_best, self.persons, NOBODY).astype(np.int32)
        bare = replace(self, persons=persons, pictured=self.pictured[:0], jpegs=())
        return bare._selected(kept, ())

    def picture_of(self, number: int, near_s: float | None = None) -> bytes | None:
        """The best picture of one person, or the one nearest to a time; None if there is none."""
        found = [picture for picture in self.pictures() if picture.person == number]
        if not found:
            return None
        if near_s is not None:
            return min(found, key=lambda picture: abs(picture.time_s - near_s)).jpeg
        return max(found, key=lambda picture: self._worth(picture.sighting)).jpeg

    def pictures(self) -> Iterator[StoredPicture]:
        """All pictures, in order of time."""
        for sighting, jpeg in zip(self.pictured.tolist(), self.jpegs, strict=True):
            person = int(self.persons[sighting])
            time_s = float(self.times_s[sighting])
            yield StoredPicture(sighting, time_s, None if person == NOBODY else person, jpeg)

    def with_people_of(self, recognition: Recognition) -> StoredFaces:
        """The same faces, with the people of a new decision about them (`rematched`)."""
        return replace(
            self,
            names=tuple(person.name for person in recognition.people),
            persons=column(recognition.persons),
            tracks=column(recognition.tracks),
        )

    def without(self, name: str) -> tuple[StoredFaces, int]:
        """The same without the faces of this person, and the number of removed faces."""
        numbers = [number for number, other in enumerate(self.names) if name and other == name]
        gone = np.isin(self.persons, numbers)
        if not numbers:
            return self, 0
        return self._selected(~gone, numbers), int(gone.sum())

    def _at(self, places: Sequence[int]) -> tuple[Encodings, list[float]]:
        """The encodings and the times of these looks, in order of time."""
        ordered = sorted(places)
        encodings = self.encodings[self.rows[ordered]].astype(np.float64)
        return encodings.reshape(len(ordered), self.space.size), self.times_s[ordered].tolist()

    def _best_of_tracks(self, number: int) -> list[int]:
        by_track: dict[int, list[int]] = {}
        for place in np.flatnonzero((self.persons == number) & (self.rows >= 0)).tolist():
            by_track.setdefault(int(self.tracks[place]), []).append(place)
        longest = sorted(by_track.values(), key=len, reverse=True)[:MAX_ENCODINGS_PER_PERSON]
        return [max(places, key=self._worth) for places in longest]

    def _worth(self, place: int) -> float:
        size_px, *rest = self.qualities[place].tolist()
        return worth(FaceQuality(int(size_px), *rest))

    def _selected(self, kept: NDArray[np.bool_], gone: Sequence[int]) -> StoredFaces:
        """Only the kept sightings, without the people `gone`, and with what belongs to them."""
        rows, encodings = _used_rows(self.rows[kept], self.encodings)
        left = [number for number in range(len(self.names)) if number not in gone]
        new_numbers = np.full(len(self.names) + 1, NOBODY, np.int32)  # the last is for NOBODY
        new_numbers[left] = np.arange(len(left))
        new_places = np.cumsum(kept, dtype=np.int32) - 1
        with_picture = kept[self.pictured]
        return replace(
            self,
            names=tuple(self.names[number] for number in left),
            times_s=self.times_s[kept],
            boxes=self.boxes[kept],
            qualities=self.qualities[kept],
            problems=self.problems[kept],
            followed=self.followed[kept],
            rows=rows,
            persons=new_numbers[self.persons[kept]],
            tracks=self.tracks[kept],
            encodings=encodings,
            pictured=new_places[self.pictured[with_picture]].astype(np.int32),
            jpegs=tuple(
                jpeg for jpeg, stays in zip(self.jpegs, with_picture, strict=True) if stays
            ),
        )


def _used_rows(
    rows: NDArray[np.int32], encodings: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The rows counted anew, and only the encodings that are used."""
    used = np.unique(rows[rows >= 0])
    new_rows = np.full(len(encodings) + 1, NOBODY, np.int32)  # the last is for NOBODY
    new_rows[used] = np.arange(len(used))
    return new_rows[rows], encodings[used]


def column(numbers: Sequence[int | None]) -> NDArray[np.int32]:
    """The numbers as a column, with NOBODY for None."""
    return np.array([NOBODY if number is None else number for number in numbers], np.int32)


def check_columns(stored: StoredFaces) -> None:
    """Raise ValueError if the columns do not fit together, or have impossible values."""
    count, size = len(stored), stored.space.size
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(ONE_PER_FACE, (count,))
    shapes |= dict.fromkeys(("boxes", "qualities"), (count, 4))
    shapes |= {"encodings": (len(stored.encodings), size), "pictured": (len(stored.jpegs),)}
    for name, shape in shapes.items():
        if getattr(stored, name).shape != shape:
            raise ValueError(f"the column {name} does not have the shape {shape}")
    looks_s, rows = np.array(stored.facts.looks_s), stored.rows
    rules = {
        "looks_s": _are_times(looks_s),
        "cuts_s": _are_times(np.array(stored.facts.cuts_s)),
        "times_s": _are_times(stored.times_s) and np.isin(stored.times_s, looks_s).all(),
        "qualities": _is_within(stored.qualities, 0, MAX_TIME_S),
        "problems": _is_within(stored.problems, 0, len(PROBLEMS) - 1),
        "encodings": _is_within(stored.encodings, -MAX_COMPONENT, MAX_COMPONENT),
        "rows": _is_within(rows, NOBODY, len(stored.encodings) - 1),
        "rows of faces that cannot be judged": ((rows == NOBODY) == (stored.problems > 0)).all(),
        "persons": _is_within(stored.persons, NOBODY, len(stored.names) - 1),
        "tracks": _is_within(stored.tracks, NOBODY, MAX_TRACKS - 1),
        "pictured": _is_within(stored.pictured, 0, count - 1)
        and (np.diff(stored.pictured) > 0).all(),
        "jpegs": all(jpeg.startswith(JPEG_START) for jpeg in stored.jpegs),
    }
    for name in (name for name, is_valid in rules.items() if not is_valid):
        raise ValueError(f"the column {name} has values that are not possible")


def _are_times(values: NDArray[np.float64]) -> bool:
    return _is_within(values, -MAX_TIME_S, MAX_TIME_S) and bool((np.diff(values) >= 0).all())


def _is_within(values: NDArray[Any], minimum: float, maximum: float) -> bool:
    """Whether all values are in this range; false for NaN."""
    return bool(((values >= minimum) & (values <= maximum)).all())
