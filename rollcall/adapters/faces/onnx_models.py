"""dlib's networks as ONNX models, built once and kept in a cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import onnxruntime

from rollcall.adapters.faces.detector_graph import detector_graph
from rollcall.adapters.faces.dlib_weights import Layer, model_path, read_layers
from rollcall.adapters.faces.encoder_graph import encoder_graph

log = logging.getLogger(__name__)

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


def convert(cache: str) -> None:
    """Both models into a folder, when an image is built."""
    for make in (encoder_model, detector_model):
        make(Path(cache))


def single_thread_session(model: bytes) -> onnxruntime.InferenceSession:
    """One thread: processes give the parallelism, and spinning threads take it from others."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _cached(cache: Path, weights: str, build: Callable[[Sequence[Layer]], bytes]) -> bytes:
    """The model of these weights. The cache's file names the hash of both, so a damaged one is
    found and built anew; where the cache cannot be written, the model is built at every start."""
    data = model_path(weights).read_bytes()
    key = hashlib.sha256(data).hexdigest()[:16]
    stem = f"{Path(weights).stem}-{key}-v{BUILDER_VERSION}-"
    for path in sorted(cache.glob(f"{stem}*.onnx")):
        model = path.read_bytes()
        if path.stem == stem + _short_hash(model):
            return model
        log.warning("the cached model %s is damaged; it is built again", path.name)
        with suppress(OSError):
            path.unlink()
    model = build(read_layers(data))
    _keep(cache, f"{stem}{_short_hash(model)}.onnx", model)
    return model


def _short_hash(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()[:16]


def _keep(cache: Path, name: str, model: bytes) -> None:
    """Whole or not at all; two processes may build the same at once."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=cache, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            file.write(model)
        os.replace(part, cache / name)
    except OSError as error:
        log.warning("the model could not be cached, each start builds it again: %s", error)
