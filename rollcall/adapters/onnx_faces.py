"""Faces by dlib's detector and landmarks, and by dlib's own network in onnxruntime."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from rollcall.adapters.dlib_weights import model_path
from rollcall.adapters.encoder_graph import CHIP_PX
from rollcall.adapters.onnx_models import encoder_model, single_thread_session
from rollcall.core.types import Box, Encodings, Face, Pixels

LANDMARKS = "shape_predictor_5_face_landmarks.dat"

DETECTION_WIDTHS_PX = (640, 960, 1600)
"""Tried in turn until there is a face. The detector sees faces from 80 pixels on, so these find
faces from an eighth, a twelfth and a twentieth of the frame's width. Measured on the real clips:
640 finds six of eight, 960 all; below 640 recall falls faster than time."""

CHIP_PADDING = 0.25
"""As `face_recognition` cuts faces out."""


class OnnxFaces:
    """FaceEngine; the same encodings as `face_recognition`, in a tenth of the time."""

    name = "dlib-resnet-onnx-1"

    def __init__(self, cache: Path) -> None:
        self._one_at_a_time = threading.Lock()
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(model_path(LANDMARKS)))
        self._encoder = single_thread_session(encoder_model(cache))

    def faces(self, pixels: Pixels) -> tuple[Face, ...]:
        with self._one_at_a_time:
            boxes = self._detect(pixels)
            chips = [self._chip(pixels, box) for box in boxes]
            encodings = self._encode(chips)
        found = [Face(_inside(b, pixels), e) for b, e in zip(boxes, encodings, strict=True)]
        return tuple(sorted(found, key=lambda face: -face.box.area_px))

    def _detect(self, pixels: Pixels) -> list[dlib.rectangle]:
        """Boxes in the full frame, from the smallest picture that shows any."""
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        for width_px in DETECTION_WIDTHS_PX:
            scale = width_px / grey.shape[1]
            method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=method)
            found = self._detector(small, 0)
            if found:
                return [_scaled(box, 1 / scale) for box in found]
        return []

    def _chip(self, pixels: Pixels, box: dlib.rectangle) -> Pixels:
        """The face, upright, shape (150, 150, 3)."""
        landmarks = self._landmarks(pixels, box)
        chip: Pixels = dlib.get_face_chip(pixels, landmarks, CHIP_PX, CHIP_PADDING)
        return chip

    def _encode(self, chips: list[Pixels]) -> Encodings | list[Encodings]:
        """Shape (n, 128)."""
        if not chips:
            return []
        (encodings,) = self._encoder.run(None, {"chips": np.stack(chips)})
        return np.asarray(encodings, dtype=np.float64)


def _scaled(box: dlib.rectangle, factor: float) -> dlib.rectangle:
    sides = (box.left(), box.top(), box.right(), box.bottom())
    return dlib.rectangle(*(round(side * factor) for side in sides))


def _inside(box: dlib.rectangle, pixels: NDArray[np.uint8]) -> Box:
    """The part of the box that lies in the picture."""
    height, width = pixels.shape[:2]
    return Box(
        max(0, box.top()), min(width, box.right()), min(height, box.bottom()), max(0, box.left())
    )
