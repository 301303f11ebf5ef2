"""dlib's face recognition network in onnxruntime: the encodings of `face_recognition`."""

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
"""As `face_recognition` cuts faces out."""


FACES_AT_ONCE = 16
"""More would not be quicker: each face takes another 2 MB of memory."""


class DlibEncoder:
    """Aligns a face by dlib's own five landmarks, which its network was trained with.

    dlib finds them in the square around the face; those of the detector are not accurate enough.
    """

    name = "dlib-resnet-onnx-1"
    space = DLIB

    def __init__(self, cache: Path) -> None:
        """`cache` is the folder that keeps the ONNX model. Raises WeightsError."""
        self._landmarks = dlib.shape_predictor(str(model_path(LANDMARKS)))
        self._network = single_thread_session(encoder_model(cache))

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        if not faces:
            return np.empty((0, self.space.size))
        encodings = []
        for start in range(0, len(faces), FACES_AT_ONCE):
            some = faces[start : start + FACES_AT_ONCE]
            chips = np.stack([self._chip(pixels, face) for face in some])
            encodings += self._network.run(None, {"chips": chips})
        return np.concatenate(encodings).astype(np.float64)

    def _chip(self, pixels: Pixels, face: DetectedFace) -> Pixels:
        """The face, upright, shape (150, 150, 3)."""
        top, right, bottom, left = square_of(face)
        landmarks = self._landmarks(pixels, dlib.rectangle(left, top, right, bottom))
        chip: Pixels = dlib.get_face_chip(pixels, landmarks, CHIP_PX, CHIP_PADDING)
        return chip


def square_of(face: DetectedFace) -> Box:
    """Where dlib's own detector would see the face; it may reach beyond the picture.

    Around the middle of the landmarks, not of the box, which is elsewhere for turned faces and for
    those that the edge of the picture cuts.
    """
    x, y = face.landmarks.mean(axis=0).tolist()
    half = max(face.box.right - face.box.left, face.box.bottom - face.box.top) / 2
    return Box(round(y - half), round(x + half), round(y + half), round(x - half))
