"""Encodes faces with dlib's face recognition network, run by onnxruntime.

The encodings are those of the package `face_recognition`, within 1e-5 (decision 0009).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dlib
import numpy as np

from rollcall.core.encoding_space import DLIB
from rollcall.core.types import Box, DetectedFace, Encodings, Pixels
from rollcall.faces.dlib_weights import model_path
from rollcall.faces.encoder_graph import CHIP_PX
from rollcall.faces.onnx_models import encoder_model, single_thread_session

LANDMARKS = "shape_predictor_5_face_landmarks.dat"
CHIP_PADDING = 0.25
"""Border around the face, as a fraction of its size. `face_recognition` uses the same border."""

FACES_AT_ONCE = 16
"""Size of a batch. A larger batch is not faster, and each face takes 2 MB of memory."""


class DlibEncoder:
    """Encoder that runs dlib's network. Thread-safe.

    A face is turned upright by dlib's own five landmarks, because the network was trained with
    them. The landmarks of CenterFace are not accurate enough.
    """

    name = "dlib-resnet-onnx-1"
    space = DLIB

    def __init__(self, cache: Path) -> None:
        """`cache` is the folder that caches the ONNX model. Raises WeightsError."""
        self._landmarks = dlib.shape_predictor(str(model_path(LANDMARKS)))
        self._network = single_thread_session(encoder_model(cache))

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        if not faces:
            return np.empty((0, self.space.size))
        encodings = []
        for start in range(0, len(faces), FACES_AT_ONCE):
            batch = faces[start : start + FACES_AT_ONCE]
            chips = np.stack([self._cut_chip(pixels, face) for face in batch])
            encodings += self._network.run(None, {"chips": chips})
        return np.concatenate(encodings).astype(np.float64)

    def _cut_chip(self, pixels: Pixels, face: DetectedFace) -> Pixels:
        """Cut the face out and turn it upright, shape (150, 150, 3). dlib calls this a chip."""
        top, right, bottom, left = square_of(face)
        landmarks = self._landmarks(pixels, dlib.rectangle(left, top, right, bottom))
        chip: Pixels = dlib.get_face_chip(pixels, landmarks, CHIP_PX, CHIP_PADDING)
        return chip


def square_of(face: DetectedFace) -> Box:
    """Return the square in which dlib searches its landmarks. It may extend beyond the picture.

    Its centre is the middle of the landmarks, where the box of dlib's own detector would be. The
    middle of CenterFace's box lies elsewhere if the face is turned or cut by the picture's edge.
    """
    x, y = face.landmarks.mean(axis=0).tolist()
    half = max(face.box.right - face.box.left, face.box.bottom - face.box.top) / 2
    return Box(round(y - half), round(x + half), round(y + half), round(x - half))
