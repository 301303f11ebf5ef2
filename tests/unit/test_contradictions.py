"""Which faces of verdicts are the same face."""

from __future__ import annotations

import numpy as np

from rollcall.core.contradictions import ROWS_AT_ONCE, SAME_FACE, are_among, counted_faces
from rollcall.core.encoding_space import DLIB
from rollcall.core.types import Encodings
from rollcall.core.verdicts import FaceSource, Verdict, VerdictKind


def verdict(number: int, kind: VerdictKind, name: str, face: Encodings) -> Verdict:
    return Verdict(str(number), kind, name, face[None], (FaceSource(),))


def test_every_copy_of_a_face_is_found_among_many_faces() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(0, 0.1, (3 * ROWS_AT_ONCE, DLIB.size))
    moved = rng.normal(0, 1, first.shape)
    moved /= np.linalg.norm(moved, axis=1)[:, None]
    distances = np.where(np.arange(len(first)) % 2, 0.999, 1.001) * SAME_FACE
    again = first + moved * distances[:, None]
    order = rng.permutation(len(first))
    said = [
        *(verdict(n, "is", "ada", face) for n, face in enumerate(first)),
        *(verdict(len(first) + n, "is", "ben", again[n]) for n in order.tolist()),
    ]
    counted = counted_faces(said)
    overruled = {row for row, face in enumerate(first) if counted.overrules("ada", face)}
    assert overruled == set(range(1, len(first), 2))
    nobody = np.empty((0, DLIB.size))
    assert are_among(first, again).tolist() == [row % 2 == 1 for row in range(len(first))]
    assert not are_among(first, nobody).any()
    assert are_among(nobody, first).tolist() == []
