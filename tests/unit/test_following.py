"""Position and pixels show whether a face is still the same."""

from __future__ import annotations

import numpy as np
import pytest

from rollcall.core.following import PATCH_PX, is_same, overlap, patch_of
from rollcall.core.types import Box, Pixels

BOX = Box(20, 120, 120, 20)


def picture(seed: int, side: int = 140) -> Pixels:
    """A picture of blobs. Each seed gives a different picture."""
    blobs = np.random.default_rng(seed).integers(0, 255, (PATCH_PX + 2, PATCH_PX + 2, 3))
    rows = np.arange(side) * (PATCH_PX + 2) // side
    return blobs[rows][:, rows].astype(np.uint8)


def moved(pixels: Pixels, right_px: int) -> Pixels:
    return np.roll(pixels, right_px, axis=1)


def same(first: Pixels, box: Box, second: Pixels, other: Box) -> bool:
    return is_same(box, patch_of(first, box), other, patch_of(second, other))


def test_an_unchanged_face_is_the_same_even_in_other_light() -> None:
    darker = (picture(1) * 0.7).astype(np.uint8)
    assert same(picture(1), BOX, picture(1), BOX)
    assert same(picture(1), BOX, darker, BOX)


def test_somebody_else_at_the_same_place_is_not_the_same() -> None:
    assert not same(picture(1), BOX, picture(2), BOX)


def test_a_face_is_followed_while_the_boxes_overlap_enough() -> None:
    first = picture(1)
    for right_px, expected in ((10, True), (40, False)):
        box = BOX._replace(left=BOX.left + right_px, right=BOX.right + right_px)
        pixels = np.pad(first, ((0, 0), (right_px, 0), (0, 0)), mode="edge")
        assert same(first, BOX, pixels, box) is expected


@pytest.mark.parametrize("side", [1, 3, PATCH_PX, 700])
def test_boxes_of_any_size_give_a_patch(side: int) -> None:
    pixels = picture(3, max(side, 20))
    patch = patch_of(pixels, Box(0, side, side, 0))
    assert patch.shape == (PATCH_PX * PATCH_PX * 3,)
    assert np.isfinite(patch).all()


def test_a_plain_patch_matches_nothing() -> None:
    """A plain area has no contrast except noise."""
    plain = np.full((140, 140, 3), 90, np.uint8)
    assert not same(plain, BOX, plain, BOX)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (BOX, 1.0),
        (Box(20, 220, 120, 120), 0.0),
        (Box(20, 170, 120, 70), 1 / 3),
        (Box(0, 10, 10, 0), 0.0),
    ],
)
def test_overlap(other: Box, expected: float) -> None:
    assert overlap(BOX, other) == pytest.approx(expected)
