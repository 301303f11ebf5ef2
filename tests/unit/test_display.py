"""The orientation and the pixel aspect ratio of stored frames."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from rollcall.core.display import Orientation, orientation_of, pixel_aspect_of, shown_size

ONE = 1 << 16
RIGHT_ANGLES = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)]
"""The numbers a, b, c, d for turns by 0, 90, 180 and 270 degrees clockwise."""


def matrix(a: float, b: float, c: float, d: float) -> list[int]:
    return [round(each * ONE) for each in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]


def drawn(pixels: np.ndarray, a: int, b: int, c: int, d: int) -> np.ndarray:
    """Put every pixel where the standard's formula says, and move the picture to the origin."""
    height, width = pixels.shape[:2]
    places = {}
    for y, x in product(range(height), range(width)):
        places[a * x + c * y, b * x + d * y] = pixels[y, x]
    left, top = (min(place[axis] for place in places) for axis in (0, 1))
    wide, high = (height, width) if b else (width, height)
    shown = np.zeros((high, wide, 3), np.uint8)
    for (x, y), colour in places.items():
        shown[y - top, x - left] = colour
    return shown


@pytest.mark.parametrize("turn", RIGHT_ANGLES)
@pytest.mark.parametrize(("mirror_x", "mirror_y"), [(1, 1), (-1, 1), (1, -1)])
def test_all_orientations(turn: tuple[int, int, int, int], mirror_x: int, mirror_y: int) -> None:
    a, b, c, d = turn
    a, c, b, d = a * mirror_x, c * mirror_x, b * mirror_y, d * mirror_y
    pixels = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    found = orientation_of(matrix(a, b, c, d)).apply(pixels)
    assert np.array_equal(found, drawn(pixels, a, b, c, d))
    assert found.flags.c_contiguous


def test_a_matrix_is_rounded_to_the_nearest_right_angle() -> None:
    assert orientation_of(matrix(0.99, 0.1, -0.1, 0.99)) == Orientation()
    assert orientation_of(matrix(0.1, 0.99, -0.99, 0.1)) == Orientation(True, True, False)


@pytest.mark.parametrize("meaningless", [[0] * 9, matrix(1, 1, 1, 1), matrix(1, 0, 0, 0)])
def test_a_meaningless_matrix_is_ignored(meaningless: list[int]) -> None:
    assert orientation_of(meaningless) == Orientation()


@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((1440, 1080), Fraction(4, 3), (1920, 1080)),
        ((720, 576), Fraction(16, 15), (768, 576)),
        ((720, 480), Fraction(8, 9), (720, 540)),
        ((704, 288), Fraction(8, 11), (704, 396)),
        ((704, 288), Fraction(1, 2), (704, 576)),
        ((640, 360), Fraction(1), (640, 360)),
        ((640, 360), Fraction(200, 201), (640, 360)),
        ((640, 360), Fraction(1, 4000), (640, 360)),
        ((640, 360), Fraction(4000), (640, 360)),
    ],
)
def test_the_shorter_direction_is_enlarged(
    stored: tuple[int, int], aspect: Fraction, shown: tuple[int, int]
) -> None:
    assert shown_size(*stored, aspect, 1 << 24) == shown


def test_an_enlarged_frame_has_no_more_pixels_than_allowed() -> None:
    width, height = shown_size(4096, 2304, Fraction(4, 3), 4096 * 2304)
    assert width * height <= 4096 * 2304
    assert width / height == pytest.approx(4096 * 4 / 3 / 2304, rel=0.001)
    assert shown_size(16, 1, Fraction(10), 16) == (16, 1)


def test_the_stretch_of_a_matrix_is_applied_only_once() -> None:
    """FFmpeg has already put the stretch of an MP4's matrix into the pixel aspect ratio."""
    plain, turned = matrix(4 / 3, 0, 0, 1), matrix(0, 4 / 3, -1, 0)
    assert pixel_aspect_of(plain, Fraction(4, 3)) == Fraction(4, 3)
    assert pixel_aspect_of(turned, Fraction(3, 4)) == Fraction(4, 3)
    assert pixel_aspect_of(matrix(0, 1, -1, 0), Fraction(4, 3)) == Fraction(4, 3)
    assert pixel_aspect_of([0] * 9, None) == 1
