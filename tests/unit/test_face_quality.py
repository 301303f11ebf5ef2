"""The measures of a face: size, sharpness and turn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rollcall.core.face_quality import (
    MAX_ENROLLED_TURN,
    MAX_JUDGED_TURN,
    MIN_ENROLLED_PX,
    MIN_ENROLLED_SHARPNESS,
    MIN_JUDGED_SHARPNESS,
    measure,
    sharpness_of,
    turn_of,
    why_not_enrolled,
    why_not_judged,
)
from rollcall.core.types import MIN_JUDGED_PX, Box, FaceQuality, Landmarks, Pixels

CENTRE = 100.0


def drawing(size: int = 128) -> Pixels:
    """A bright disc with two dark discs in it, with edges as sharp as pixels allow."""
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
    """Blur by a mean over 3 x 3 pixels, repeatedly."""
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


def test_more_blur_means_less_sharpness() -> None:
    values = [sharpness(blurred(drawing(), times)) for times in (0, 2, 6, 20, 60)]
    assert values == sorted(values, reverse=True)
    assert values[0] > MIN_JUDGED_SHARPNESS > values[-1]


def test_contrast_and_size_hardly_change_sharpness() -> None:
    faint = (drawing() // 4 + 100).astype(np.uint8)
    assert sharpness(faint) == pytest.approx(sharpness(drawing()), rel=0.1)
    assert sharpness(drawing(512)) == pytest.approx(sharpness(drawing(128)), rel=0.5)


@pytest.mark.parametrize("deviation", [4.0, 10.0])
def test_noise_does_not_look_sharp(deviation: float) -> None:
    soft = blurred(drawing(), 60)
    assert sharpness(noisy(soft, deviation)) < MIN_ENROLLED_SHARPNESS
    assert sharpness(noisy(drawing(), deviation)) > MIN_ENROLLED_SHARPNESS


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_sharpness_of_a_tiny_face_is_zero(size: int) -> None:
    assert sharpness(np.zeros((size, 9, 3), dtype=np.uint8)) == 0.0


@pytest.mark.parametrize("value", [0, 255])
def test_the_sharpness_of_a_plain_area_is_zero(value: int) -> None:
    assert sharpness(np.full((80, 80, 3), value, dtype=np.uint8)) == pytest.approx(0, abs=1e-9)


def landmarks(nose: float, degrees: float = 0.0) -> Landmarks:
    """Landmarks with eyes 40 pixels apart and a turn of `nose`, the head tilted."""
    points = np.array([[-20, 0], [20, 0], [nose * 40, 30], [-15, 50], [15, 50]], dtype=np.float64)
    angle = np.deg2rad(degrees)
    tilt = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ tilt.T + CENTRE


@pytest.mark.parametrize("degrees", [0, 30, -90, 180])
@pytest.mark.parametrize("nose", [0.0, 0.2, -0.5])
def test_tilting_the_head_does_not_change_the_turn(nose: float, degrees: float) -> None:
    assert abs(turn_of(landmarks(nose, degrees))) == pytest.approx(abs(nose))


def test_eyes_in_one_place_do_not_divide_by_zero() -> None:
    assert turn_of(np.zeros((5, 2))) == 0.0


JUDGED = FaceQuality(MIN_JUDGED_PX, MIN_JUDGED_SHARPNESS, MAX_JUDGED_TURN, 0.5)
ENROLLED = FaceQuality(MIN_ENROLLED_PX, MIN_ENROLLED_SHARPNESS, MAX_ENROLLED_TURN, 0.5)


def test_a_face_at_the_limits_is_accepted() -> None:
    assert why_not_judged(JUDGED) == ""
    assert why_not_enrolled(ENROLLED) == ""


@pytest.mark.parametrize(
    ("changed", "problem", "sentence"),
    [
        ({"size_px": 31}, "too small", "only 31 pixels wide, and 50 are needed"),
        ({"sharpness": 0.003}, "blurred", "is blurred"),
        ({"turn": 0.61}, "turned", "is turned away"),
    ],
)
def test_a_face_beyond_a_limit_has_a_reason(
    changed: dict[str, float], problem: str, sentence: str
) -> None:
    assert why_not_judged(replace(JUDGED, **changed)) == problem
    refusal = why_not_enrolled(replace(ENROLLED, **changed))
    assert sentence in refusal
    assert "; use a" in refusal


def test_enrolment_is_stricter_than_recognition() -> None:
    assert why_not_enrolled(JUDGED)


def test_the_shorter_side_of_the_box_counts() -> None:
    quality = measure(drawing(), Box(10, 110, 50, 20), landmarks(-0.3), 0.9)
    assert (quality.size_px, quality.turn, quality.score) == (40, pytest.approx(0.3), 0.9)


def test_a_box_may_reach_beyond_the_picture() -> None:
    inside = measure(drawing(), Box(0, 128, 128, 0), landmarks(0), 0.9)
    beyond = measure(drawing(), Box(-9, 150, 140, -20), landmarks(0), 0.9)
    assert beyond.sharpness == inside.sharpness
    assert beyond.size_px == 149
