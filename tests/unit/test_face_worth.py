"""Which look shows a face best, and what a small picture of it shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rollcall.core.face_worth import PICTURE_PX, shown_square, worth
from rollcall.core.types import Box, FaceQuality
from rollcall.faces.face_jpeg import face_jpeg
from rollcall.recognition.face_columns import MAX_JPEG_BYTES


@pytest.mark.parametrize(
    ("box", "square"),
    [
        (Box(100, 150, 150, 100), Box(85, 165, 165, 85)),  # 1.6 times 50, around the middle
        (Box(0, 50, 50, 0), Box(0, 80, 80, 0)),  # moved into the frame
        (Box(150, 300, 200, 250), Box(120, 300, 200, 220)),
        (Box(10, 260, 190, 80), Box(0, 270, 200, 70)),  # as high as the frame
    ],
)
def test_the_square_lies_in_the_frame(box: Box, square: Box) -> None:
    assert shown_square(box, 300, 200) == square


def test_a_sharp_face_that_looks_into_the_camera_is_worth_most() -> None:
    best = FaceQuality(100, 0.1, 0.0, 0.9)
    assert worth(best) == 1.0
    worse = [
        FaceQuality(40, 0.1, 0.0, 0.9),
        FaceQuality(100, 0.01, 0.0, 0.9),
        FaceQuality(100, 0.1, 0.5, 0.9),
    ]
    assert all(0 < worth(quality) < 0.6 for quality in worse)
    assert worth(FaceQuality(100, 0.1, 1.5, 0.9)) == 0.0


@pytest.mark.parametrize(
    ("side_px", "shown_px"), [(1, 1), (60, 60), (96, 96), (500, PICTURE_PX), (2000, PICTURE_PX)]
)
def test_a_picture_is_small_and_is_not_enlarged(side_px: int, shown_px: int) -> None:
    pixels = np.zeros((side_px, side_px, 3), np.uint8)
    pixels[..., 0] = 200
    jpeg = face_jpeg(pixels, Box(0, side_px, side_px, 0))
    shown = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert shown.shape == (shown_px, shown_px, 3)
    assert shown[0, 0].argmax() == 0  # red stays red
    assert len(jpeg) < 4096


def test_the_worst_picture_fits_into_the_limit() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    assert len(face_jpeg(noise, Box(0, 96, 96, 0))) < MAX_JPEG_BYTES / 2
