"""Finds and encodes faces with the package `face_recognition` (`ENGINE=face_recognition`).

This engine is slow. It is the reference that the default engine is compared with.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from rollcall.core.encoding_space import DLIB
from rollcall.core.types import Box, DetectedFace, Encodings, Landmarks, Pixels

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    # If `pkg_resources` is missing, `face_recognition` ends the process with exit code 0. Importing
    # it here first raises ImportError instead.
    importlib.import_module("pkg_resources")
    import face_recognition


class DlibFaces:
    """FaceEngine that calls `face_recognition`. Thread-safe, but it runs one call at a time.

    The package keeps one global detector and one encoder of dlib, which are not thread-safe.
    """

    name = f"face_recognition-{face_recognition.__version__}"
    space = DLIB

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        with self._lock:
            boxes = face_recognition.face_locations(pixels)
            shapes = face_recognition.face_landmarks(pixels, boxes)
        found = [
            DetectedFace(Box(*box), _five_points(shape), score=1.0)  # the package returns no score
            for box, shape in zip(boxes, shapes, strict=True)
        ]
        return tuple(sorted(found, key=lambda face: -face.box.area_px))

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        boxes = [tuple(face.box) for face in faces]
        with self._lock:
            encodings = face_recognition.face_encodings(pixels, boxes)
        return np.array(encodings, dtype=np.float64).reshape(len(boxes), self.space.size)


def _five_points(shape: Mapping[str, Sequence[tuple[int, int]]]) -> Landmarks:
    """Return our five landmarks. The package returns dlib's 68 points, grouped by name."""
    eyes = [np.mean(shape[eye], axis=0) for eye in ("left_eye", "right_eye")]
    return np.array([*eyes, shape["nose_bridge"][-1], shape["top_lip"][0], shape["top_lip"][6]])
