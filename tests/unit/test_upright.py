"""Photos are turned so that the faces in them are upright."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from rollcall.core.types import Box, DetectedFace, Pixels
from rollcall.core.upright import is_upright, turn_upright
from rollcall.faces.painted_faces import PaintedFaces

UPRIGHT = ((30, 40), (70, 40), (50, 60), (35, 80), (65, 80))
"""Both eyes, the tip of the nose, and both corners of the mouth."""


def face(score: float, *, upright: bool = True) -> DetectedFace:
    points = np.array(UPRIGHT, float)
    return DetectedFace(Box(0, 100, 100, 0), points if upright else points[:, ::-1], score)


class Detector(PaintedFaces):
    """Finds faces by the grey value of the top left corner, which differs in each position."""

    def __init__(self, faces: Mapping[int, Sequence[DetectedFace]]) -> None:
        super().__init__()
        self._faces = faces

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        return tuple(self._faces.get(int(pixels[0, 0, 0]), ()))


CORNERS = np.array([[[0] * 3, [1] * 3], [[3] * 3, [2] * 3]], np.uint8)
"""A picture whose top left corner has the value n after n quarter turns."""


def test_a_face_lies_on_its_side_if_its_mouth_is_beside_its_eyes() -> None:
    assert [is_upright(face(1.0)), is_upright(face(1.0, upright=False))] == [True, False]


@pytest.mark.parametrize("right", range(4))
def test_the_most_certain_upright_face_decides(right: int) -> None:
    lying = face(0.99, upright=False)
    found = {n: [lying, face(0.9 if n == right else 0.7)] for n in range(4)}
    photo = turn_upright(CORNERS, Detector(found))
    assert (photo.quarter_turns, photo.pixels[0, 0, 0]) == (right, right)
    assert [each.score for each in photo.faces] == [0.99, 0.9]


def test_without_an_upright_face_the_most_certain_face_decides() -> None:
    found = {1: [face(0.6, upright=False)], 3: [face(0.8, upright=False)]}
    assert turn_upright(CORNERS, Detector(found)).quarter_turns == 3


def test_a_photo_without_faces_stays_as_it_is() -> None:
    photo = turn_upright(CORNERS, Detector({}))
    assert (photo.quarter_turns, photo.faces) == (0, ())
    assert photo.pixels.tolist() == CORNERS.tolist()
