"""dlib's networks as ONNX models, built once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from rollcall.adapters.faces.detector_graph import detector_graph
from rollcall.adapters.faces.dlib_weights import Layer, model_path, read_layers
from rollcall.adapters.faces.encoder_graph import encoder_graph
from rollcall.adapters.faces.model_cache import cached
from rollcall.adapters.faces.runtime import onnxruntime

ENCODER = "dlib_face_recognition_resnet_model_v1.dat"
DETECTOR = "mmod_human_face_detector.dat"
BUILDER_VERSION = 1
"""Part of the cache's name; goes up when the graph changes."""


def encoder_model(cache: Path) -> bytes:
    """ONNX bytes: `chips`, uint8 (n, 150, 150, 3) RGB -> `encodings`, float32 (n, 128).

    Raises WeightsError.
    """
    return _cached(cache, ENCODER, encoder_graph)


def detector_model(cache: Path) -> bytes:
    """ONNX bytes: `sheet`, float32 (1, 3, height, width), a normalised tiled pyramid -> `scores`,
    float32 (1, 1, rows, columns).

    Raises WeightsError.
    """
    return _cached(cache, DETECTOR, detector_graph)


def single_thread_session(model: bytes) -> onnxruntime.InferenceSession:
    """One thread: processes give the parallelism, and spinning threads take it from others."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _cached(cache: Path, weights: str, build: Callable[[Sequence[Layer]], bytes]) -> bytes:
    """The model of these weights, whose hash is in the name of the cache's file."""
    data = model_path(weights).read_bytes()
    key = hashlib.sha256(data).hexdigest()[:16]
    stem = f"{Path(weights).stem}-{key}-v{BUILDER_VERSION}"
    return cached(cache, stem, ".onnx", lambda: build(read_layers(data)))
