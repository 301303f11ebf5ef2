"""Reads the layers of dlib's serialised networks.

The format is defined by dlib's source (dlib/serialize.h, dlib/dnn/layers.h):

- The layers follow each other from the input of the network to its output.
- A layer begins with a tag in ASCII. A layer with weights continues with a tensor (version, four
  sizes, raw little-endian float32 numbers), and then with its own sizes.
- An integer begins with a byte: its low four bits are the number of bytes that follow, its high bit
  is the sign. The bytes that follow hold the absolute value, lowest byte first.

All other data between two tags is skipped.
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
"""Kinds of layers with weights, and how many sizes are read after the weights."""
_BEFORE_WEIGHTS = {"fc_2": 2}
"""How many integers precede the weights: a fully connected layer starts with the number of its
outputs and of its inputs."""

_POOLS = ("avg_pool_2", "max_pool_2")
_POOL_SIZES = 6

Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the network."""

    kind: str
    """dlib's tag."""
    weights: Weights
    """Empty for a layer without weights."""
    sizes: tuple[int, ...]
    """Convolution: filters, rows, columns, stride y and x, padding y and x. Pool: the same without
    filters; 0 rows mean that the window is the whole input. Empty for all other kinds."""


def model_path(name: str) -> Path:
    """Return the path of a file in `face_recognition_models`, without importing the package.

    The import is slow and issues a warning. Raises WeightsError.
    """
    return installed_file("face_recognition_models", f"models/{name}")


def read_layers(data: bytes) -> tuple[Layer, ...]:
    """Return the layers from input to output. Raises WeightsError for a damaged file."""
    layers, position = [], 0
    try:
        while tag := _TAG.search(data, position):
            layer, position = _read_layer(data, tag[0].decode(), tag.end())
            layers.append(layer)
    except (IndexError, ValueError) as error:
        raise WeightsError(f"the network is cut off or damaged: {error}") from error
    if not layers:
        raise WeightsError("the file holds no network")
    return tuple(layers)


def read_integer(data: bytes, position: int) -> tuple[int, int]:
    """Return the integer at `position`, and the position after it."""
    count = data[position] & 0x0F
    end = position + 1 + count
    value = int.from_bytes(data[position + 1 : end], "little")
    return (-value if data[position] & 0x80 else value), end


def _read_layer(data: bytes, kind: str, position: int) -> tuple[Layer, int]:
    weights: Weights = np.empty(0, dtype=np.float32)
    if kind in _WEIGHTED:
        _, position = _read_integers(data, position, _BEFORE_WEIGHTS.get(kind, 0))
        weights, position = _read_tensor(data, position)
    count = _POOL_SIZES if kind in _POOLS else _WEIGHTED.get(kind, 0)
    sizes, position = _read_integers(data, position, count)
    return Layer(kind, weights, sizes), position


def _read_tensor(data: bytes, position: int) -> tuple[Weights, int]:
    """Return the tensor at `position` as a view of the file's bytes, and the position after it."""
    # The first integer is the version of the tensor's format.
    (_, *sizes), position = _read_integers(data, position, 5)
    count = math.prod(sizes)
    weights = np.frombuffer(data, "<f4", count, position)
    return weights.reshape(sizes), position + weights.nbytes


def _read_integers(data: bytes, position: int, count: int) -> tuple[tuple[int, ...], int]:
    values = []
    for _ in range(count):
        value, position = read_integer(data, position)
        values.append(value)
    return tuple(values), position
