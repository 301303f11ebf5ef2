"""Faces by `face_recognition` (dlib)."""

from __future__ import annotations

import importlib
import threading
import warnings

import numpy as np

from rollcall.core.types import Box, Face, Pixels

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
        found = [
            Face(Box(*box), np.asarray(encoding, dtype=np.float64))
            for box, encoding in zip(boxes, encodings, strict=True)
        ]
        return tuple(sorted(found, key=lambda face: -face.box.area_px))
