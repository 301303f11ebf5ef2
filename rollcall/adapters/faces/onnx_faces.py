"""Faces by dlib's detector and landmarks, and by dlib's own network in onnxruntime."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from rollcall.adapters.faces.cnn_detector import CnnDetector
from rollcall.adapters.faces.dlib_weights import model_path
from rollcall.adapters.faces.encoder_graph import CHIP_PX
from rollcall.adapters.faces.hog_detector import hog_detector
from rollcall.adapters.faces.onnx_models import encoder_model, single_thread_session
from rollcall.core.types import Box, Encodings, Face, Landmarks, Pixels

LANDMARKS = "shape_predictor_5_face_landmarks.dat"

DETECTION_WIDTHS_PX = (640, 960)
"""Tried in turn until there is a face. The HOG detector sees upright faces from 80 pixels on, so
these find faces from an eighth and from a twelfth of the frame's width. Measured on first frames of
eight real clips: 640 finds six faces in 13 ms, 960 all eight in 28 ms more; 480 finds five."""

CNN_WIDTH_PX = 960
"""For the CNN detector, which sees turned and dark faces too, in 150 ms."""

MOST_DETECTION_PX = 1 << 21
"""Of a picture that is looked at. Phones' upright videos have 1.6 million at the largest width; a
strip of 16 x 16,000 pixels would otherwise take a minute and gigabytes."""

CHIP_PADDING = 0.25
"""As `face_recognition` cuts faces out."""


def fill_cache(cache: Path) -> None:
    """With all that an engine keeps there, when an image is built."""
    OnnxFaces(cache)
    CnnDetector(cache)


class OnnxFaces:
    """FaceEngine with the encodings of `face_recognition` (docs/performance.md has the figures).

    dlib's objects are not safe for threads: one call at a time.
    """

    name = "dlib-resnet-onnx-1"

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._one_at_a_time = threading.Lock()
        self._detector = hog_detector(cache)
        self._landmarks = dlib.shape_predictor(str(model_path(LANDMARKS)))
        self._encoder = single_thread_session(encoder_model(cache))
        self._cnn: CnnDetector | None = None

    def faces(self, pixels: Pixels, *, thorough: bool = False) -> tuple[Face, ...]:
        with self._one_at_a_time:
            boxes = self._upright(pixels)
            scores = [0.0] * len(boxes)
            if not boxes and thorough:
                boxes, scores = self._turned(pixels)
            found = self._encoded(pixels, boxes, scores)
        return tuple(sorted(found, key=lambda face: -face.box.area_px))

    def encode_box(self, pixels: Pixels, box: Box) -> Face:
        """The face in a given box, for measurements; nothing is searched for."""
        rectangle = dlib.rectangle(box.left, box.top, box.right - 1, box.bottom - 1)
        with self._one_at_a_time:
            return self._encoded(pixels, [rectangle], [0.0])[0]

    def _encoded(
        self, pixels: Pixels, boxes: list[dlib.rectangle], scores: list[float]
    ) -> list[Face]:
        shapes = [self._landmarks(pixels, box) for box in boxes]
        encodings = self._encode([_chip(pixels, shape) for shape in shapes])
        return [
            Face(_inside(box, pixels), encoding, _points(shape), score)
            for box, encoding, shape, score in zip(boxes, encodings, shapes, scores, strict=True)
        ]

    def _upright(self, pixels: Pixels) -> list[dlib.rectangle]:
        """Boxes in the full frame, from the smallest picture that shows any."""
        grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        for most_px in DETECTION_WIDTHS_PX:
            width_px = _width_px(grey, most_px)
            found = self._detector(_resized(grey, width_px), 0)
            if found:
                return [_scaled(box, grey.shape[1] / width_px) for box in found]
        return []

    def _turned(self, pixels: Pixels) -> tuple[list[dlib.rectangle], list[float]]:
        """Boxes and scores of the CNN detector, which is loaded when it is first needed."""
        if self._cnn is None:
            self._cnn = CnnDetector(self._cache)
        width_px = _width_px(pixels, CNN_WIDTH_PX)
        small = np.ascontiguousarray(_resized(pixels, width_px))
        factor = pixels.shape[1] / width_px
        found = self._cnn.detect(small)
        boxes = (dlib.rectangle(b.left, b.top, b.right - 1, b.bottom - 1) for b, _ in found)
        return [_scaled(box, factor) for box in boxes], [score for _, score in found]

    def _encode(self, chips: list[Pixels]) -> Encodings | list[Encodings]:
        """Shape (n, 128)."""
        if not chips:
            return []
        (encodings,) = self._encoder.run(None, {"chips": np.stack(chips)})
        return np.asarray(encodings, dtype=np.float64)


def _chip(pixels: Pixels, landmarks: dlib.full_object_detection) -> Pixels:
    """The face, upright, shape (150, 150, 3)."""
    chip: Pixels = dlib.get_face_chip(pixels, landmarks, CHIP_PX, CHIP_PADDING)
    return chip


def _points(landmarks: dlib.full_object_detection) -> Landmarks:
    return np.array([(point.x, point.y) for point in landmarks.parts()], dtype=np.float64)


def _width_px(picture: Pixels, most_px: int) -> int:
    """At which it has no more than MOST_DETECTION_PX at the same proportions."""
    height, width = picture.shape[:2]
    return max(1, min(most_px, math.isqrt(MOST_DETECTION_PX * width // height)))


def _resized(picture: Pixels, width_px: int) -> Pixels:
    """To that width, at the same proportions. A mean over pixels is dear where their number is no
    whole one, and no better while it is below two."""
    times = picture.shape[1] / width_px
    size = (width_px, max(1, round(picture.shape[0] / times)))
    method = cv2.INTER_AREA if times >= 2 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), dtype=np.uint8)


def _scaled(box: dlib.rectangle, factor: float) -> dlib.rectangle:
    sides = (box.left(), box.top(), box.right(), box.bottom())
    return dlib.rectangle(*(round(side * factor) for side in sides))


def _inside(box: dlib.rectangle, pixels: NDArray[np.uint8]) -> Box:
    """The part of the box that lies in the picture."""
    height, width = pixels.shape[:2]
    return Box(
        max(0, box.top()), min(width, box.right()), min(height, box.bottom()), max(0, box.left())
    )
