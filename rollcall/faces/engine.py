"""Combines a detector and an encoder into a FaceEngine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rollcall.core.protocols import Detector, Encoder
from rollcall.core.types import DetectedFace, Encodings, Pixels
from rollcall.faces.centerface import CenterFace
from rollcall.faces.dlib_encoder import DlibEncoder
from rollcall.faces.onnx_encoder import OnnxEncoder


class Engine:
    """FaceEngine that calls any detector and any encoder."""

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
    """Return an engine that finds faces with CenterFace.

    It encodes them with dlib's network, or with the user's ONNX file `own_model`. `cache` is the
    folder that caches our networks as ONNX models; container images include a filled one. Raises
    SettingsError if `own_model` cannot be used, and WeightsError.
    """
    encoder = OnnxEncoder(own_model) if own_model else DlibEncoder(cache)
    return Engine(CenterFace(cache), encoder)
