"""Faces by `face_recognition` (dlib)."""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from rollcall.core.types import Box, Face, Landmarks, Pixels

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    # First, because without it `face_recognition` ends the process with exit code 0.
    importlib.import_module("pkg_resources")
    import face_recognition


class DlibFaces:
    """FaceEngine over `face_recognition`, the reference for the other one.

    dlib's objects are not safe for threads, and the library keeps one of each: one call at a time.
    """

    name = f"face_recognition-{face_recognition.__version__}"

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()

    def faces(self, pixels: Pixels, *, thorough: bool = False) -> tuple[Face, ...]:
        with self._one_at_a_time:
            boxes = face_recognition.face_locations(pixels)
            encodings = face_recognition.face_encodings(pixels, boxes)
            shapes = face_recognition.face_landmarks(pixels, boxes, model="small")
        found = [
            Face(Box(*box), np.asarray(encoding, dtype=np.float64), _points(shape))
            for box, encoding, shape in zip(boxes, encodings, shapes, strict=True)
        ]
        return tuple(sorted(found, key=lambda face: -face.box.area_px))


def _points(shape: Mapping[str, Sequence[tuple[int, int]]]) -> Landmarks:
    """The library groups dlib's five points by name."""
    eyes_and_nose = ("left_eye", "right_eye", "nose_tip")
    points = [point for part in eyes_and_nose for point in shape[part]]
    return np.array(points, dtype=np.float64)
