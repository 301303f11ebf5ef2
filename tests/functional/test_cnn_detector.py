"""The detector in onnxruntime finds what dlib's own finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.pictures import astronaut, cat, first_frames, resized, turned

from rollcall.adapters.faces.cnn_detector import CnnDetector, read_rules
from rollcall.adapters.faces.dlib_weights import WeightsError, model_path
from rollcall.adapters.faces.onnx_models import DETECTOR
from rollcall.core.types import Box, Pixels

dlib = pytest.importorskip("dlib")

Found = list[tuple[Box, float]]

PICTURES: dict[str, Callable[[], Pixels]] = {
    "as it is": astronaut,
    "without a person": cat,
    "640 x 360": lambda: resized(astronaut()[60:348], 640, 360),
    "odd sides": lambda: resized(astronaut(), 641, 361),
    "small": lambda: resized(astronaut()[30:210, 120:320], 100, 90),
    "tall": lambda: astronaut()[:, 150:300],
    "wide": lambda: astronaut()[60:180],
    "two faces": lambda: np.hstack([astronaut(), astronaut()[:, ::-1]]),
    "many faces": lambda: np.tile(astronaut()[40:200, 140:300], (3, 4, 1)),
    "face at the border": lambda: astronaut()[90:, 190:],
    "face larger than the picture": lambda: resized(astronaut()[80:160, 175:255], 240, 240),
    "face fills the picture": lambda: resized(astronaut()[60:180, 155:275], 500, 500),
    "mirrored": lambda: astronaut()[:, ::-1],
    "turned by 20": lambda: turned(astronaut(), 20),
    "turned by -45": lambda: turned(astronaut(), -45),
    "upside down": lambda: astronaut()[::-1],
    "dark": lambda: (astronaut() * 0.15).astype(np.uint8),
    "larger": lambda: resized(astronaut()[:300, 60:360], 750, 750),
    "black": lambda: np.zeros((120, 160, 3), dtype=np.uint8),
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> CnnDetector:
    return CnnDetector(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def dlibs() -> Callable[[Pixels], Found]:
    detector = dlib.cnn_face_detection_model_v1(str(model_path(DETECTOR)))

    def detect(pixels: Pixels) -> Found:
        found = [(each.rect, each.confidence) for each in detector(pixels, 0)]
        return [
            (Box(rect.top(), rect.right() + 1, rect.bottom() + 1, rect.left()), confidence)
            for rect, confidence in found
        ]

    return detect


def overlap(box: Box, other: Box) -> float:
    """Intersection over union."""
    height = min(box.bottom, other.bottom) - max(box.top, other.top)
    width = min(box.right, other.right) - max(box.left, other.left)
    inner = max(0, height) * max(0, width)
    return inner / (box.area_px + other.area_px - inner)


def assert_same(found: Found, expected: Found) -> None:
    """In any order: two faces may be equally sure."""
    assert len(found) == len(expected)
    for box, confidence in expected:
        nearest, score = max(found, key=lambda each: overlap(each[0], box))
        assert overlap(nearest, box) > 0.99
        assert score == pytest.approx(confidence, abs=0.01)


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_faces_as_dlib(
    name: str, ours: CnnDetector, dlibs: Callable[[Pixels], Found]
) -> None:
    pixels = np.ascontiguousarray(PICTURES[name]())
    assert_same(ours.detect(pixels), dlibs(pixels))


def test_the_same_faces_as_dlib_in_real_clips(
    classroom: Path, ours: CnnDetector, dlibs: Callable[[Pixels], Found]
) -> None:
    for frame in first_frames(classroom / "videos"):
        pixels = resized(frame, 640, round(640 * frame.shape[0] / frame.shape[1]))
        assert_same(ours.detect(pixels), dlibs(pixels))


def test_the_surest_face_comes_first(ours: CnnDetector) -> None:
    pixels = np.hstack([turned(astronaut(), 20), astronaut()])
    scores = [score for _, score in ours.detect(pixels)]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 300), (7, 7), (300, 6), (8, 50)])
def test_a_picture_too_small_for_a_face_has_none(
    height: int, width: int, ours: CnnDetector
) -> None:
    assert ours.detect(np.full((height, width, 3), 128, dtype=np.uint8)) == []


def test_the_rules_stand_in_the_file() -> None:
    rules = read_rules(model_path(DETECTOR).read_bytes())
    assert (rules.width_px, rules.height_px) == (80, 80)
    assert rules.overlap == pytest.approx(0.33828, abs=1e-5)
    assert rules.covered == 1.0


@pytest.mark.parametrize("damaged", [b"", b"loss_mmod_", b"loss_mmod_\x01\x02", b"\0" * 100])
def test_a_file_without_rules_is_refused(damaged: bytes) -> None:
    with pytest.raises(WeightsError):
        read_rules(damaged)
