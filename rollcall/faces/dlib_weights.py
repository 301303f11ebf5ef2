"""Reads the layers of dlib's serialised networks.

A network is written from its input to its output. Each layer begins with a tag as text; one with
weights goes on with a tensor (version, four sizes, raw little-endian float32) and then with its own
sizes. An integer is a byte, whose low half counts the bytes that follow and whose high bit is the
sign, and then these bytes, lowest first (dlib/serialize.h, dlib/dnn/layers.h).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rollcall.faces.installed import WeightsError, installed_file

_TAG = re.compile(rb"(con_4|affine_|add_prev_|avg_pool_2|max_pool_2|fc_2|relu_)")
_WEIGHTED = {"con_4": 7, "affine_": 0, "fc_2": 0}
"""Kind of layer -> how many sizes behind its weights are of use."""
_BEFORE_WEIGHTS = {"fc_2": 2}
"""A full layer names its outputs and inputs first."""

_POOLS = ("avg_pool_2", "max_pool_2")
_POOL_SIZES = 6

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """`sizes` of con: filters, rows, columns, stride y and x, padding y and x; of a pool: rows,
    columns, stride y and x, padding y and x, where 0 rows mean everything."""

    kind: str
    weights: Weights
    sizes: tuple[int, ...]


def model_path(name: str) -> Path:
    """A file of the installed `face_recognition_models`, whose import is slow and warns."""
    return installed_file("face_recognition_models", f"models/{name}")


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


def _layer(data: bytes, kind: str, position: int) -> tuple[Layer, int]:
    weights: Weights = np.empty(0, dtype=np.float32)
    if kind in _WEIGHTED:
        _, position = _integers(data, position, _BEFORE_WEIGHTS.get(kind, 0))
        weights, position = _tensor(data, position)
    count = _POOL_SIZES if kind in _POOLS else _WEIGHTED.get(kind, 0)
    sizes, position = _integers(data, position, count)
    return Layer(kind, weights, sizes), position


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
