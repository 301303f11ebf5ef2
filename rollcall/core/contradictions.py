"""Verdicts that contradict each other: only the later one counts.

They contradict each other if they say different things about the same face. In the same video, that
is the same encoding. Another copy of the video gives nearly the same encoding. If both verdicts
counted there, two people would be equally near, and the face would have no name at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rollcall.core.encoding_space import DLIB
from rollcall.core.types import Encodings
from rollcall.core.verdicts import NAMING_KINDS, Verdict

SAME_FACE = DLIB.min_margin
"""Largest distance between two encodings that are taken for the same face. Two people who are as
near as that to a face cannot be told apart: the margin is too small for a name."""

REACH = SAME_FACE + 1e-9
"""The same distance, and what rounding may add to it."""

ROWS_AT_ONCE = 256
"""Encodings that are compared with others at once. With 10,000, that takes 20 MB at most."""


@dataclass(frozen=True, slots=True)
class CountedFaces:
    """What is left of verdicts after the later ones overruled the earlier ones."""

    overruled: set[tuple[str, bytes]] = field(default_factory=set)
    """Names, and the bytes of encodings of *is* verdicts, that do not count."""
    ignored: list[Encodings] = field(default_factory=list)
    negatives: dict[str, list[Encodings]] = field(default_factory=dict)
    """The encodings that are not the person, by the person's name."""

    def overrules(self, name: str, encoding: Encodings) -> bool:
        """Whether an encoding of this person does not count any more."""
        return bool(self.overruled) and (name, encoding.tobytes()) in self.overruled

    def add(self, verdict: Verdict, encoding: Encodings) -> None:
        if verdict.kind == "ignore":
            self.ignored.append(encoding)
        elif verdict.kind == "not":
            self.negatives.setdefault(verdict.name, []).append(encoding)


def counted_faces(verdicts: Sequence[Verdict]) -> CountedFaces:
    """The faces of verdicts, in the order in which somebody gave them, that count."""
    faces = [
        (verdict, encoding)
        for verdict in reversed(verdicts)
        if verdict.kind != "same"
        for encoding in verdict.encodings
    ]
    counted = CountedFaces()
    # The verdict about each face, from the last to the first, if it counts.
    said: list[Verdict | None] = []
    for (verdict, encoding), places in zip(faces, _same_faces(faces), strict=True):
        later = [other for place in places if (other := said[place])]
        if not _contradict(later, verdict):
            said.append(verdict)
            counted.add(verdict, encoding)
        else:
            said.append(None)
            if verdict.kind == "is":
                counted.overruled.add((verdict.name, encoding.tobytes()))
    return counted


def _contradict(later: Sequence[Verdict], verdict: Verdict) -> bool:
    """Whether later verdicts about the same face, which count, say something else."""
    kinds = {each.kind for each in later}
    about_person = {each.kind for each in later if each.name == verdict.name}
    if verdict.kind == "ignore":
        return "is" in kinds
    if verdict.kind == "not":
        return "is" in about_person
    says_else = bool(kinds & {"is", "ignore"}) or "not" in about_person
    return says_else and "is" not in about_person


def _same_faces(faces: Sequence[tuple[Verdict, Encodings]]) -> list[list[int]]:
    """For each face, the places of the same face before it in the list."""
    same: list[list[int]] = [[] for _ in faces]
    if faces:
        for later, earlier in _near_pairs(np.array([encoding for _, encoding in faces])):
            same[later].append(earlier)
    return same


def _near_pairs(rows: Encodings) -> list[tuple[int, int]]:
    """The numbers of the rows within SAME_FACE of each other: the larger one first, sorted.

    The rows are sorted by the component in which they differ most. So each is compared with few
    others, because two rows are at least as far from each other as their components are.
    """
    column = rows[:, rows.var(axis=0).argmax()]
    order = column.argsort()
    values, rows = column[order], rows[order]
    squared_lengths = np.einsum("ij,ij->i", rows, rows)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        block = slice(start, min(start + ROWS_AT_ONCE, len(rows)))
        end = int(np.searchsorted(values, values[block.stop - 1] + REACH, side="right"))
        others = slice(start, end)
        squared = squared_lengths[block, None] + squared_lengths[others]
        squared -= 2 * rows[block] @ rows[others].T
        for row, other in np.argwhere(squared <= SAME_FACE**2).tolist():
            if row < other:
                one, two = int(order[start + row]), int(order[start + other])
                pairs.append((max(one, two), min(one, two)))
    return sorted(pairs)


def are_among(encodings: Encodings, faces: Encodings) -> NDArray[np.bool_]:
    """Whether each encoding, shape (n, size), is the same face as one of `faces`, (k, size)."""
    found = np.zeros(len(encodings), bool)
    lengths = np.einsum("ij,ij->i", encodings, encodings)[:, None]
    for start in range(0, len(faces), ROWS_AT_ONCE):
        block = faces[start : start + ROWS_AT_ONCE]
        squared = lengths + np.einsum("ij,ij->i", block, block) - 2 * encodings @ block.T
        found |= (squared <= SAME_FACE**2).any(axis=1)
    return found


def without_faces(verdict: Verdict, faces: Encodings) -> Verdict | None:
    """The rest of a verdict without these faces, shape (k, size), or None.

    All faces of a `same` or `ignore` verdict show one person, so the whole verdict goes.
    """
    kept = np.flatnonzero(~are_among(verdict.encodings, faces))
    if len(kept) == len(verdict.sources):
        return verdict
    if not len(kept) or verdict.kind not in NAMING_KINDS:
        return None
    sources = tuple(verdict.sources[row] for row in kept)
    return replace(verdict, encodings=verdict.encodings[kept], sources=sources)
