"""CenterFace finds every face once, at any size that can be judged, and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data
from support.memory import watch_peak
from support.pictures import astronaut, cat, first_frames, turned

from rollcall.core.types import Box, DetectedFace, Pixels
from rollcall.faces.centerface import CenterFace


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> CenterFace:
    return CenterFace(tmp_path_factory.mktemp("models"))


FACE_PX = 95
"""Width of the face in the picture of the astronaut."""


def portrait(width_px: int) -> Pixels:
    """Return the astronaut with hair and shoulders. The face has the given width."""
    scale = width_px / FACE_PX
    return cv2.resize(astronaut()[20:280, 80:380], None, fx=scale, fy=scale)  # type: ignore[return-value]


def scene(size: tuple[int, int], *people: tuple[int, int, int]) -> Pixels:
    """Return a wall with portraits. Each is given by its face width, and its left and top edge."""
    picture = np.full((size[1], size[0], 3), (190, 200, 195), dtype=np.uint8)
    for width_px, left, top in people:
        cut = portrait(width_px)[: size[1] - top, : size[0] - left]
        picture[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return picture


def is_square(box: Box) -> bool:
    return abs((box.right - box.left) - (box.bottom - box.top)) <= 1


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
@pytest.mark.parametrize("small_px", [28, 36, 60, 160])
def test_a_small_face_beside_a_large_one_is_found(
    detector: CenterFace, size: tuple[int, int], small_px: int
) -> None:
    found = detector.detect(scene(size, (200, 20, 20), (small_px, size[0] * 2 // 3, 200)))
    assert len(found) == 2
    large, small = (face.box.right - face.box.left for face in found)
    assert 180 < large < 230
    assert 0.8 * small_px < small < 1.3 * small_px


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
@pytest.mark.parametrize("side", [2, 3, 5])
def test_the_face_in_every_tile_of_a_meeting_is_found(
    detector: CenterFace, size: tuple[int, int], side: int
) -> None:
    width, height = size[0] // side, size[1] // side
    face_px = round(height * 0.38)
    people = [
        (face_px, column * width, row * height) for row in range(side) for column in range(side)
    ]
    assert len(detector.detect(scene(size, *people))) == side * side


@pytest.mark.parametrize("degrees", [0, 15, 30, -30])
def test_a_tilted_face_is_found_once(detector: CenterFace, degrees: float) -> None:
    (face,) = detector.detect(turned(astronaut(), degrees))
    assert is_square(face.box)


@pytest.mark.parametrize("scale", [1, 3, 4])
def test_a_large_face_is_found_once(detector: CenterFace, scale: int) -> None:
    close = cv2.resize(astronaut()[40:220, 130:330], None, fx=scale, fy=scale)
    assert len(detector.detect(np.asarray(close, dtype=np.uint8))) == 1


def test_neighbours_in_a_crowd_are_all_found(detector: CenterFace) -> None:
    """The heads touch, and the boxes of the faces overlap a little."""
    face = astronaut()[40:200, 160:290]
    crowd = np.ascontiguousarray(np.tile(face, (3, 6, 1)))
    assert len(detector.detect(crowd)) == 18


def test_a_face_at_the_edge_has_a_box_inside_the_picture(detector: CenterFace) -> None:
    (face,) = detector.detect(np.ascontiguousarray(astronaut()[:300, 205:]))
    assert face.box.left == 0
    assert face.box.right - face.box.left < face.box.bottom - face.box.top


@pytest.mark.parametrize("name", ["brick", "grass", "gravel", "coffee", "rocket", "page", "coins"])
def test_no_face_is_found_in_pictures_without_people(detector: CenterFace, name: str) -> None:
    pixels = np.asarray(getattr(data, name)(), dtype=np.uint8)
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    assert detector.detect(np.ascontiguousarray(rgb)) == ()


@pytest.mark.parametrize("cells", [1, 8, 40])
def test_no_face_is_found_in_noise(detector: CenterFace, cells: int) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (720 // cells, 1280 // cells, 3), np.uint8)
    enlarged = cv2.resize(noise, (1280, 720), interpolation=cv2.INTER_CUBIC)
    assert detector.detect(np.asarray(enlarged, dtype=np.uint8)) == ()


def test_no_face_is_found_in_the_picture_of_a_cat(detector: CenterFace) -> None:
    assert detector.detect(cat()) == ()


@pytest.mark.parametrize(
    "shape", [(16_000, 16, 3), (16, 16_000, 3), (1, 1, 3), (1, 16_000, 3), (4320, 7680, 3)]
)
def test_a_picture_of_any_shape_needs_less_than_a_gigabyte(
    detector: CenterFace, shape: tuple[int, int, int]
) -> None:
    pixels = np.full(shape, 90, np.uint8)
    grown_by = watch_peak()
    assert detector.detect(pixels) == ()
    assert grown_by() < 1 << 30


def test_all_faces_in_first_frames_of_real_clips_are_found(
    detector: CenterFace, classroom: Path
) -> None:
    counts = [len(detector.detect(frame)) for frame in first_frames(classroom / "videos")]
    assert counts == [1, 1, 1, 1, 2, 1, 1, 1]


def test_faces_come_largest_first_with_scores(detector: CenterFace) -> None:
    found: tuple[DetectedFace, ...] = detector.detect(
        scene((1280, 720), (60, 50, 50), (150, 500, 100), (100, 900, 300))
    )
    widths = [face.box.right - face.box.left for face in found]
    assert len(widths) == 3
    assert widths == sorted(widths, reverse=True)
    assert all(0.4 < face.score <= 1 for face in found)
