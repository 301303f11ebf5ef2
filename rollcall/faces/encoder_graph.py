"""Converts the layers of dlib's face recognition ResNet to an ONNX graph.

dlib's file lists the layers, but not where the shortcuts of the residual blocks begin. `_Encoder`
infers that from the order of the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rollcall.core.encoding_space import DLIB
from rollcall.faces.dlib_weights import Layer
from rollcall.faces.installed import WeightsError

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

CHIP_PX = 150
"""Side of the network's input, a square picture of a face."""

MEAN_RGB = (122.782, 117.001, 104.298)
"""The network's input is (pixel - mean) / 256 (dlib, input_rgb_image_sized)."""


class Window(NamedTuple):
    """The window of a convolution or a pool. The fields have the order of dlib's files."""

    rows: int
    columns: int
    stride_y: int
    stride_x: int
    padding_y: int
    padding_x: int

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Return how many rows and columns of windows cover an input of that size."""
        return (
            (rows + 2 * self.padding_y - self.rows) // self.stride_y + 1,
            (columns + 2 * self.padding_x - self.columns) // self.stride_x + 1,
        )

    def attributes(self) -> dict[str, list[int]]:
        """Return the window as attributes of an ONNX node."""
        return {
            "kernel_shape": [self.rows, self.columns],
            "strides": [self.stride_y, self.stride_x],
            "pads": 2 * [self.padding_y, self.padding_x],
        }


class _Value(NamedTuple):
    """The output of a node."""

    name: str
    shape: tuple[int, int, int]
    """Channels, rows, columns."""


def encoder_graph(layers: Sequence[Layer]) -> bytes:
    """Return the graph as bytes.

    Input `chips`: uint8, shape (n, 150, 150, 3), RGB. Output `encodings`: float32, shape (n, 128).
    Raises WeightsError if the layers are not those of an encoder.
    """
    from onnx import TensorProto, helper

    if not layers or layers[-1].kind != "fc_2":
        raise WeightsError("the network does not end in an encoding")
    encoder = _Encoder()
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        encoder.add_layer(layer, following)
    encoder.nodes[-1].output[0] = "encodings"
    graph = helper.make_graph(
        encoder.nodes,
        "encoder",
        [helper.make_tensor_value_info("chips", TensorProto.UINT8, ["n", CHIP_PX, CHIP_PX, 3])],
        [helper.make_tensor_value_info("encodings", TensorProto.FLOAT, ["n", DLIB.size])],
        encoder.weights,
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised


class _Encoder:
    """Builds the graph layer by layer.

    `_block` is the value at the beginning of the current residual block, which the next `add_prev`
    layer adds to the current value `_value`. A block begins after the max pool, and after each ReLU
    that follows an `add_prev`. An average pool with a window pools `_block`, not `_value`.
    """

    def __init__(self) -> None:
        from onnx import TensorProto

        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        pixels = self._add_node("Cast", "chips", to=TensorProto.FLOAT)
        planes = self._add_node("Transpose", pixels, perm=[0, 3, 1, 2])
        mean = self._add_constant(np.array(MEAN_RGB, dtype=np.float32).reshape(1, 3, 1, 1))
        scaled = self._add_node(
            "Mul", self._add_node("Sub", planes, mean), self._add_constant(np.float32(1 / 256))
        )
        self._value = self._block = _Value(scaled, (3, CHIP_PX, CHIP_PX))
        self._previous_kind = ""

    def add_layer(self, layer: Layer, following: Layer | None) -> None:
        """Add the nodes of one layer. `following` is the layer after it."""
        if layer.kind == "con_4":
            self._add_convolution(layer, following)
        elif layer.kind == "relu_":
            self._value = self._value._replace(name=self._add_node("Relu", self._value.name))
            if self._previous_kind == "add_prev_":
                self._block = self._value
        elif layer.kind == "add_prev_":
            self._add_shortcut()
        elif layer.kind == "fc_2":
            weights = self._add_constant(layer.weights.reshape(self._value.shape[0], DLIB.size))
            name = self._add_node("MatMul", self._value.name, weights)
            self._value = _Value(name, (DLIB.size, 1, 1))
        elif layer.kind != "affine_":  # an affine layer became part of the convolution before it
            self._add_pool(layer)
        self._previous_kind = layer.kind

    def _add_convolution(self, layer: Layer, following: Layer | None) -> None:
        filters, window = layer.sizes[0], Window(*layer.sizes[1:])
        flat = layer.weights.ravel()  # the weights of all filters, then one bias for each
        weights = flat[:-filters].reshape(filters, -1, window.rows, window.columns)
        bias = flat[-filters:]
        if following is not None and following.kind == "affine_":
            # An affine layer is a batch norm after training: it scales and shifts the output of
            # each filter. Scaling the weights and shifting the bias has the same effect.
            gamma, beta = following.weights.reshape(2, filters)
            weights, bias = weights * gamma[:, None, None, None], bias * gamma + beta
        constants = self._add_constant(weights), self._add_constant(bias)
        name = self._add_node("Conv", self._value.name, *constants, **window.attributes())
        self._value = _Value(name, (filters, *window.grid(*self._value.shape[1:])))

    def _add_pool(self, layer: Layer) -> None:
        if layer.kind == "max_pool_2":
            self._value = self._block = self._add_windowed_pool("MaxPool", self._value, layer)
        elif layer.sizes[0]:  # an average pool in the shortcut of a block that halves its size
            self._block = self._add_windowed_pool("AveragePool", self._block, layer)
        else:
            name = self._add_node("Flatten", self._add_node("GlobalAveragePool", self._value.name))
            self._value = _Value(name, (self._value.shape[0], 1, 1))

    def _add_windowed_pool(self, operator: str, value: _Value, layer: Layer) -> _Value:
        window = Window(*layer.sizes)
        name = self._add_node(operator, value.name, **window.attributes())
        channels, rows, columns = value.shape
        return _Value(name, (channels, *window.grid(rows, columns)))

    def _add_shortcut(self) -> None:
        """Add `_block` to the current value, as dlib's layer `add_prev` does.

        If their shapes differ, dlib pads both with zeros at the end of each axis.
        """
        pair = (self._value, self._block)
        channels, rows, columns = map(max, zip(*(each.shape for each in pair), strict=True))
        names = [self._pad(value, (channels, rows, columns)) for value in pair]
        self._value = _Value(self._add_node("Add", *names), (channels, rows, columns))

    def _pad(self, value: _Value, shape: tuple[int, int, int]) -> str:
        missing = [want - have for want, have in zip(shape, value.shape, strict=True)]
        if not any(missing):
            return value.name
        # ONNX: padding at the start of each axis (batch, channels, rows, columns), then at the end.
        pads = np.array([0, 0, 0, 0, 0, *missing], dtype=np.int64)
        return self._add_node("Pad", value.name, self._add_constant(pads))

    def _add_node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _add_constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
