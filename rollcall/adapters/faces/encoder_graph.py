"""dlib's face recognition ResNet as an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rollcall.adapters.faces.dlib_weights import Layer, WeightsError
from rollcall.adapters.faces.onnx_graph import Graph, Window, kernel, window_attributes, with_affine
from rollcall.core.types import ENCODING_SIZE

CHIP_PX = 150
MEAN_RGB = (122.782, 117.001, 104.298)
"""Subtracted from the pixels, then divided by 256 (dlib, input_rgb_image_sized)."""


class _Value(NamedTuple):
    """An output of the graph, with its channels, rows and columns."""

    name: str
    shape: tuple[int, int, int]


def encoder_graph(layers: Sequence[Layer]) -> bytes:
    """ONNX bytes: `chips`, uint8 (n, 150, 150, 3) RGB -> `encodings`, float32 (n, 128)."""
    from onnx import TensorProto, helper

    if not layers or layers[-1].kind != "fc_2":
        raise WeightsError("the network does not end in an encoding")
    encoder = _Encoder()
    for layer, affine in with_affine(layers):
        encoder.step(layer, affine)
    return encoder.graph.model(
        "encoder",
        helper.make_tensor_value_info("chips", TensorProto.UINT8, ["n", CHIP_PX, CHIP_PX, 3]),
        helper.make_tensor_value_info("encodings", TensorProto.FLOAT, ["n", ENCODING_SIZE]),
    )


class _Encoder:
    """Adds layer behind layer. `block` is what the next add_prev adds: dlib tags it at the
    beginning of each residual block, and the file does not tell where; it begins behind the ReLU
    that ends the block before it. An average pool inside a block pools the tagged value."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.value = self.block = _normalised(self.graph)
        self._before = ""

    def step(self, layer: Layer, affine: Layer | None) -> None:
        if layer.kind == "con_4":
            self._convolution(layer, affine)
        elif layer.kind == "relu_":
            self._relu()
        elif layer.kind == "add_prev_":
            self.value = _sum(self.graph, self.value, self.block)
        elif layer.kind == "fc_2":
            self._full(layer)
        else:
            self._pool(layer)
        self._before = layer.kind

    def _convolution(self, layer: Layer, affine: Layer | None) -> None:
        kernel_ = kernel(layer, affine)
        name = self.graph.convolution(self.value.name, kernel_)
        rows, columns = kernel_.window.grid(*self.value.shape[1:])
        self.value = _Value(name, (len(kernel_.bias), rows, columns))

    def _relu(self) -> None:
        self.value = _Value(self.graph.add("Relu", self.value.name), self.value.shape)
        if self._before == "add_prev_":
            self.block = self.value

    def _pool(self, layer: Layer) -> None:
        if layer.kind == "max_pool_2":
            self.block = self.value = _pooled(self.graph, "MaxPool", self.value, layer)
        elif layer.sizes[0]:
            self.block = _pooled(self.graph, "AveragePool", self.block, layer)
        else:
            name = self.graph.add("GlobalAveragePool", self.value.name)
            self.value = _Value(self.graph.add("Flatten", name), (self.value.shape[0], 1, 1))

    def _full(self, layer: Layer) -> None:
        weights = layer.weights.reshape(self.value.shape[0], ENCODING_SIZE)
        name = self.graph.add("MatMul", self.value.name, self.graph.constant(weights))
        self.value = _Value(name, (ENCODING_SIZE, 1, 1))


def _normalised(graph: Graph) -> _Value:
    from onnx import TensorProto

    pixels = graph.add("Cast", "chips", to=TensorProto.FLOAT)
    planes = graph.add("Transpose", pixels, perm=[0, 3, 1, 2])
    mean = graph.constant(np.array(MEAN_RGB, dtype=np.float32).reshape(1, 3, 1, 1))
    scale = graph.constant(np.float32(1 / 256))
    name = graph.add("Mul", graph.add("Sub", planes, mean), scale)
    return _Value(name, (3, CHIP_PX, CHIP_PX))


def _pooled(graph: Graph, operator: str, value: _Value, layer: Layer) -> _Value:
    window = Window(*layer.sizes)
    name = graph.add(operator, value.name, **window_attributes(window))
    channels, rows, columns = value.shape
    return _Value(name, (channels, *window.grid(rows, columns)))


def _sum(graph: Graph, left: _Value, right: _Value) -> _Value:
    """dlib's add_prev: the smaller operand is padded with zeros behind its last channel, row and
    column."""
    channels, rows, columns = map(max, zip(left.shape, right.shape, strict=True))
    shape = (channels, rows, columns)
    names = [_padded(graph, value, shape) for value in (left, right)]
    return _Value(graph.add("Add", *names), shape)


def _padded(graph: Graph, value: _Value, shape: tuple[int, int, int]) -> str:
    missing = [want - have for want, have in zip(shape, value.shape, strict=True)]
    if not any(missing):
        return value.name
    pads = np.array([0, 0, 0, 0, 0, *missing], dtype=np.int64)
    return graph.add("Pad", value.name, graph.constant(pads))
