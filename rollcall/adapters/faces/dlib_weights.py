"""Reads the layers of dlib's serialised networks.

A network is written from its input to its output. Each layer begins with a tag as text; one with
weights goes on with a tensor (version, four sizes, raw little-endian float32) and then with its own
sizes. An integer is a byte, whose low half counts the bytes that follow and whose high bit is the
sign, and then these bytes, lowest first (dlib/serialize.h, dlib/dnn/layers.h).
"""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rollcall.core.errors import RollcallError

_TAG = re.compile(rb"(con_4|affine_|bn_con2|add_prev_|avg_pool_2|max_pool_2|fc_2|relu_)")
_WEIGHTED = {"con_4": 7, "affine_": 0, "fc_2": 0}
"""Kind of layer -> how many sizes behind its weights are of use."""
_BEFORE_WEIGHTS = {"fc_2": 2}
"""A full layer names its outputs and inputs first."""

_BATCH_NORM = "bn_con2"
"""A network that was saved to be trained on; dlib reads it as affine, and so do we."""
_VIEW_SIZES = 5
_SETTINGS_SIZES = 2 + 4 * 2
"""Behind a batch norm's tensors: two counts, four fractions."""

_POOLS = ("avg_pool_2", "max_pool_2")
_POOL_SIZES = 6

Weights = NDArray[np.float32]


class WeightsError(RollcallError):
    """The file is not the network that we know."""

    code = "weights"


@dataclass(frozen=True, slots=True)
class Layer:
    """`sizes` of con: filters, rows, columns, stride y and x, padding y and x; of a pool: rows,
    columns, stride y and x, padding y and x, where 0 rows mean everything."""

    kind: str
    weights: Weights
    sizes: tuple[int, ...]


def model_path(name: str) -> Path:
    """A file of the installed `face_recognition_models`, whose import is slow and warns."""
    spec = importlib.util.find_spec("face_recognition_models")
    places = list(spec.submodule_search_locations or ()) if spec else []
    path = Path(places[0]) / "models" / name if places else Path(name)
    if not path.is_file():
        raise WeightsError(f"{name} is missing; install face_recognition_models")
    return path


def read_layers(data: bytes) -> tuple[Layer, ...]:
    """The layers from input to output. Raises WeightsError."""
    layers, position = [], 0
    try:
        while found := _TAG.search(data, position):
            layer, position = _layer(data, found[0].decode(), found.end())
            layers.append(layer)
    except (IndexError, ValueError) as error:
        raise WeightsError(f"the network is cut off or damaged: {error}") from error
    if not layers:
        raise WeightsError("the file holds no network")
    return tuple(layers)


def read_integer(data: bytes, position: int) -> tuple[int, int]:
    """The integer at `position`, and the position behind it."""
    count = data[position] & 0x0F
    end = position + 1 + count
    value = int.from_bytes(data[position + 1 : end], "little")
    return (-value if data[position] & 0x80 else value), end


def read_fraction(data: bytes, position: int) -> tuple[float, int]:
    """The number at `position`, written as two integers: mantissa and exponent of two."""
    (mantissa, exponent), position = _integers(data, position, 2)
    return math.ldexp(mantissa, exponent), position


def _layer(data: bytes, kind: str, position: int) -> tuple[Layer, int]:
    weights: Weights = np.empty(0, dtype=np.float32)
    if kind == _BATCH_NORM:
        weights, position = _batch_norm(data, position)
        return Layer("affine_", weights, ()), position
    if kind in _WEIGHTED:
        _, position = _integers(data, position, _BEFORE_WEIGHTS.get(kind, 0))
        weights, position = _tensor(data, position)
    count = _POOL_SIZES if kind in _POOLS else _WEIGHTED.get(kind, 0)
    sizes, position = _integers(data, position, count)
    return Layer(kind, weights, sizes), position


def _batch_norm(data: bytes, position: int) -> tuple[Weights, int]:
    """What it does once trained: gamma and beta, shape (2, channels), float32.

    dlib stores gamma and beta, two views on them, means and inverse deviations of the last batch,
    running means and variances, its settings, and what is added to the variances (bn_ in
    dlib/dnn/layers.h).
    """
    trained, position = _tensor(data, position)
    _, position = _integers(data, position, 2 * _VIEW_SIZES)
    (_, _, means, variances), position = _tensors(data, position, 4)
    _, position = _integers(data, position, _SETTINGS_SIZES)
    epsilon, position = read_fraction(data, position)
    gamma, beta = trained.reshape(2, -1).astype(np.float64)
    gamma = gamma / np.sqrt(variances.ravel() + epsilon)
    return np.stack([gamma, beta - gamma * means.ravel()]).astype(np.float32), position


def _tensors(data: bytes, position: int, count: int) -> tuple[list[Weights], int]:
    tensors = []
    for _ in range(count):
        tensor, position = _tensor(data, position)
        tensors.append(tensor)
    return tensors, position


def _tensor(data: bytes, position: int) -> tuple[Weights, int]:
    """A view into the file's bytes; version and four sizes come first."""
    (_, *sizes), position = _integers(data, position, 5)
    count = math.prod(sizes)
    weights = np.frombuffer(data, "<f4", count, position)
    return weights.reshape(sizes), position + weights.nbytes


def _integers(data: bytes, position: int, count: int) -> tuple[tuple[int, ...], int]:
    values = []
    for _ in range(count):
        value, position = read_integer(data, position)
        values.append(value)
    return tuple(values), position
