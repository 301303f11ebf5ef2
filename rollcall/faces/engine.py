"""A detector and an encoder as one engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rollcall.core.protocols import Detector, Encoder
from rollcall.core.types import DetectedFace, Encodings, Pixels
from rollcall.faces.centerface import CenterFace
from rollcall.faces.dlib_encoder import DlibEncoder
from rollcall.faces.onnx_encoder import OnnxEncoder


class Engine:
    """FaceEngine of any detector and any encoder."""

    def __init__(self, detector: Detector, encoder: Encoder) -> None:
        self._detector = detector
        self._encoder = encoder
        self.name = f"{detector.name}+{encoder.name}"
        self.space = encoder.space

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        return self._detector.detect(pixels)

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        return self._encoder.encode(pixels, faces)


def default_engine(cache: Path, own_model: Path | None = None) -> Engine:
    """Finds faces by CenterFace and encodes them as `face_recognition` does, or by a model of the
    user's. Raises SettingsError for one that cannot be used.

    `cache` keeps our networks as ONNX models; an image is built with them in it.
    """
    encoder = OnnxEncoder(own_model) if own_model else DlibEncoder(cache)
    return Engine(CenterFace(cache), encoder)
