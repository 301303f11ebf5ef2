"""Frames look as in a player: upright, not mirrored, with square pixels."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.ffmpeg import H264, ffmpeg, with_matrix

from rollcall.core.types import Pixels, VideoLimits
from rollcall.video.av_video import open_video

LIMITS = VideoLimits(60, 1 << 22)
SIZE = (160, 96)
COLOURS = np.array([[(220, 30, 30), (30, 220, 30)], [(30, 30, 220), (220, 220, 30)]], np.uint8)
"""The colours of the corners: upper left, upper right; lower left, lower right."""

ASPECTS = ["1/1", "4/3", "8/11", "16/15", "2/1", "1/2"]
MATRICES = [
    *((1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)),
    *((-1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 0, -1), (0, -1, -1, 0)),
]
"""Display matrices: the four turns, and the same turns mirrored."""


def first_frame(path: Path) -> Pixels:
    with open(path, "rb") as file, open_video(file, LIMITS) as video:
        return next(video.frames([0.0])).pixels.copy()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an MP4 for each aspect ratio, from a picture with a different colour in each corner."""
    folder = tmp_path_factory.mktemp("stored")
    picture = cv2.resize(COLOURS, SIZE, interpolation=cv2.INTER_NEAREST)
    cv2.imwrite(str(folder / "a.png"), picture[..., ::-1])
    for aspect in ASPECTS:
        name = aspect.replace("/", "-")
        source = f"-loop 1 -t 0.2 -i '{folder / 'a.png'}' -vf setsar={aspect} {H264} -crf 10"
        ffmpeg(source, folder / f"{name}.mp4")
    return folder


def corners(pixels: Pixels) -> np.ndarray:
    """Return the number of the colour in each corner, shape (2, 2)."""
    height, width = pixels.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    found = [[pixels[y, x].astype(int) for x in columns] for y in rows]
    distances = np.abs(np.array(found)[:, :, None] - COLOURS.reshape(1, 1, 4, 3)).sum(axis=3)
    assert distances.min(axis=2).max() < 60, "each corner has one of the colours"
    return distances.argmin(axis=2)


def placed(a: int, b: int, c: int, d: int) -> np.ndarray:
    """Return where the standard's formula puts the four corners, shape (2, 2)."""
    shown = np.zeros((2, 2), int)
    for y, x in product((0, 1), (0, 1)):
        # Coordinates are relative to the middle of the picture, so the matrix needs no shift.
        right, low = 2 * x - 1, 2 * y - 1
        shown[(b * right + d * low + 1) // 2, (a * right + c * low + 1) // 2] = 2 * y + x
    return shown


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("matrix", MATRICES)
def test_all_orientations_and_aspect_ratios_are_corrected(
    stored: Path, tmp_path: Path, matrix: tuple[int, int, int, int], aspect: str
) -> None:
    plain = (stored / f"{aspect.replace('/', '-')}.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(with_matrix(plain, *matrix))
    pixels = first_frame(tmp_path / "a.mp4")
    assert np.array_equal(corners(pixels), placed(*matrix))
    wide, high = Fraction(aspect) * SIZE[0], SIZE[1]
    if not matrix[0]:
        wide, high = high, wide
    assert pixels.shape[1] / pixels.shape[0] == pytest.approx(float(wide / high), rel=0.01)
    assert min(pixels.shape[:2]) >= SIZE[1]


@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_that_stretches_is_applied_once(
    stored: Path, tmp_path: Path, turned: bool
) -> None:
    plain = (stored / "1-1.mp4").read_bytes()
    matrix = (0, 1.5, -1, 0) if turned else (1.5, 0, 0, 1)
    (tmp_path / "a.mp4").write_bytes(with_matrix(plain.replace(b"pasp", b"free"), *matrix))
    height, width = first_frame(tmp_path / "a.mp4").shape[:2]
    shown = (96, 240) if turned else (240, 96)
    assert (width, height) == shown


@pytest.mark.parametrize("extension", ["mkv", "mov", "ts", "mpg", "avi"])
def test_oblong_pixels_are_corrected_in_every_usual_container(
    tmp_path: Path, extension: str
) -> None:
    codec = "-c:v mpeg2video" if extension in ("mpg", "avi") else H264
    source = f"-f lavfi -i testsrc2=s=144x108:r=25:d=0.4 -vf setsar=4/3 {codec}"
    path = ffmpeg(source, tmp_path / f"a.{extension}")
    assert first_frame(path).shape == (108, 192, 3)


def test_an_absurd_aspect_ratio_is_ignored(stored: Path, tmp_path: Path) -> None:
    film = (stored / "2-1.mp4").read_bytes()
    at = film.index(b"pasp") + 4
    (tmp_path / "a.mp4").write_bytes(film[:at] + b"\0\1\0\0\0\0\0\1" + film[at + 8 :])
    assert first_frame(tmp_path / "a.mp4").shape == (96, 160, 3)


def test_the_picture_never_outgrows_the_limit(stored: Path) -> None:
    limits = VideoLimits(60, SIZE[0] * SIZE[1])
    with open(stored / "2-1.mp4", "rb") as file, open_video(file, limits) as video:
        height, width = next(video.frames([0.0])).pixels.shape[:2]
    assert width * height <= limits.pixels
    assert width / height == pytest.approx(2 * 160 / 96, rel=0.02)
