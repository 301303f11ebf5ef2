"""Measures of a face: size, sharpness, turn."""

from __future__ import annotations

import numpy as np
import pytest

from rollcall.core.face_quality import (
    MAX_TURN,
    MIN_FACE_PX,
    MIN_SHARPNESS,
    FaceQuality,
    measure,
    sharpness_of,
    turn_of,
)
from rollcall.core.types import ENCODING_SIZE, Box, Face, Pixels

CENTRE = 100.0


def drawing(size: int = 128) -> Pixels:
    """A bright disc with two dark ones in it, as sharp as pixels can be."""
    y, x = np.mgrid[:size, :size] / size
    grey = np.full((size, size), 60.0)
    for row, column, radius, value in (
        (0.5, 0.5, 0.4, 180),
        (0.4, 0.35, 0.06, 20),
        (0.4, 0.65, 0.06, 20),
    ):
        grey[(y - row) ** 2 + (x - column) ** 2 < radius**2] = value
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def blurred(pixels: Pixels, times: int) -> Pixels:
    """Every pass is a mean over three pixels in each direction."""
    soft = pixels.astype(np.float64)
    for _ in range(times):
        for axis in (0, 1):
            soft = (np.roll(soft, 1, axis) + soft + np.roll(soft, -1, axis)) / 3
    return soft.round().astype(np.uint8)


def noisy(pixels: Pixels, deviation: float) -> Pixels:
    noise = np.random.default_rng(1).normal(0, deviation, pixels.shape[:2])[:, :, None]
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def whole(pixels: Pixels) -> Box:
    return Box(0, pixels.shape[1], pixels.shape[0], 0)


def sharpness(pixels: Pixels) -> float:
    return sharpness_of(pixels, whole(pixels))


def test_blur_makes_it_smaller_step_by_step() -> None:
    values = [sharpness(blurred(drawing(), times)) for times in (0, 2, 6, 20, 60)]
    assert values == sorted(values, reverse=True)
    assert values[0] > MIN_SHARPNESS > values[-1]


def test_contrast_and_size_change_little() -> None:
    faint = (drawing() // 4 + 100).astype(np.uint8)
    assert sharpness(faint) == pytest.approx(sharpness(drawing()), rel=0.1)
    assert sharpness(drawing(512)) == pytest.approx(sharpness(drawing(128)), rel=0.5)


@pytest.mark.parametrize("deviation", [4.0, 10.0])
def test_noise_does_not_look_sharp(deviation: float) -> None:
    soft = blurred(drawing(), 60)
    assert sharpness(noisy(soft, deviation)) < MIN_SHARPNESS
    assert sharpness(noisy(drawing(), deviation)) > MIN_SHARPNESS


@pytest.mark.parametrize("size", [0, 1, 2])
def test_hardly_any_pixels_have_no_sharpness(size: int) -> None:
    assert sharpness(np.zeros((size, 9, 3), dtype=np.uint8)) == 0.0


@pytest.mark.parametrize("value", [0, 255])
def test_a_plain_area_has_no_sharpness(value: int) -> None:
    assert sharpness(np.full((80, 80, 3), value, dtype=np.uint8)) == pytest.approx(0, abs=1e-9)


def landmarks(nose: float, degrees: float = 0.0) -> np.ndarray:
    """Eyes 40 pixels apart, the nose so far to the side, the head tilted."""
    points = np.array([[24, 0], [16, 0], [-24, 0], [-16, 0], [nose * 40, 30]], dtype=np.float64)
    angle = np.deg2rad(degrees)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ tilt.T + CENTRE


@pytest.mark.parametrize("degrees", [0, 30, -90, 180])
@pytest.mark.parametrize("nose", [0.0, 0.2, -0.5])
def test_turn_is_the_side_of_the_nose_however_the_head_is_tilted(
    nose: float, degrees: float
) -> None:
    assert abs(turn_of(landmarks(nose, degrees))) == pytest.approx(abs(nose))


def test_eyes_in_one_place_do_not_divide_by_zero() -> None:
    assert turn_of(np.zeros((5, 2))) == 0.0


GOOD = FaceQuality(MIN_FACE_PX, MIN_SHARPNESS, MAX_TURN)


def test_a_face_at_its_limits_is_good() -> None:
    assert GOOD.problem() == ""
    assert FaceQuality(MIN_FACE_PX, MIN_SHARPNESS, None).problem() == ""


@pytest.mark.parametrize(
    ("quality", "problem"),
    [
        (FaceQuality(MIN_FACE_PX - 1, 1.0, 0.0), "only 49 pixels wide, and 50 are needed"),
        (FaceQuality(500, MIN_SHARPNESS / 2, 0.0), "is blurred"),
        (FaceQuality(500, 1.0, MAX_TURN + 0.01), "is turned away"),
    ],
)
def test_a_face_beyond_a_limit_has_a_reason(quality: FaceQuality, problem: str) -> None:
    assert problem in quality.problem()
    assert "; use a" in quality.problem()


def test_the_shorter_side_of_the_box_counts() -> None:
    face = Face(Box(10, 110, 50, 20), np.zeros(ENCODING_SIZE), landmarks(-0.3))
    quality = measure(drawing(), face)
    assert (quality.size_px, quality.turn) == (40, pytest.approx(0.3))
    assert measure(drawing(), Face(face.box, face.encoding)).turn is None
