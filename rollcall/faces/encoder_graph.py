"""dlib's face recognition ResNet as an ONNX graph."""

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
MEAN_RGB = (122.782, 117.001, 104.298)
"""Subtracted from the pixels, then divided by 256 (dlib, input_rgb_image_sized)."""


class Window(NamedTuple):
    """The window of a convolution or a pool; the order is that of dlib's files."""

    rows: int
    columns: int
    stride_y: int
    stride_x: int
    padding_y: int
    padding_x: int

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """How many windows stand below each other, and side by side."""
        return (
            (rows + 2 * self.padding_y - self.rows) // self.stride_y + 1,
            (columns + 2 * self.padding_x - self.columns) // self.stride_x + 1,
        )

    def attributes(self) -> dict[str, list[int]]:
        """As ONNX names them."""
        return {
            "kernel_shape": [self.rows, self.columns],
            "strides": [self.stride_y, self.stride_x],
            "pads": 2 * [self.padding_y, self.padding_x],
        }


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
    for layer, behind in zip(layers, [*layers[1:], None], strict=True):
        encoder.step(layer, behind)
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
    """Adds layer behind layer. `block` is what the next add_prev adds: dlib tags it at the
    beginning of each residual block, and the file does not tell where; it begins behind the ReLU
    that ends the block before it. An average pool inside a block pools the tagged value."""

    def __init__(self) -> None:
        from onnx import TensorProto

        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        pixels = self._add("Cast", "chips", to=TensorProto.FLOAT)
        planes = self._add("Transpose", pixels, perm=[0, 3, 1, 2])
        mean = self._constant(np.array(MEAN_RGB, dtype=np.float32).reshape(1, 3, 1, 1))
        scaled = self._add(
            "Mul", self._add("Sub", planes, mean), self._constant(np.float32(1 / 256))
        )
        self._value = self._block = _Value(scaled, (3, CHIP_PX, CHIP_PX))
        self._before = ""

    def step(self, layer: Layer, behind: Layer | None) -> None:
        """An affine layer is folded into the convolution before it."""
        if layer.kind == "con_4":
            self._convolution(layer, behind)
        elif layer.kind == "relu_":
            self._value = self._value._replace(name=self._add("Relu", self._value.name))
            if self._before == "add_prev_":
                self._block = self._value
        elif layer.kind == "add_prev_":
            self._sum()
        elif layer.kind == "fc_2":
            weights = self._constant(layer.weights.reshape(self._value.shape[0], DLIB.size))
            name = self._add("MatMul", self._value.name, weights)
            self._value = _Value(name, (DLIB.size, 1, 1))
        elif layer.kind != "affine_":
            self._pool(layer)
        self._before = layer.kind

    def _convolution(self, layer: Layer, behind: Layer | None) -> None:
        filters, window = layer.sizes[0], Window(*layer.sizes[1:])
        flat = layer.weights.ravel()
        weights = flat[:-filters].reshape(filters, -1, window.rows, window.columns)
        bias = flat[-filters:]
        if behind is not None and behind.kind == "affine_":
            gamma, beta = behind.weights.reshape(2, filters)
            weights, bias = weights * gamma[:, None, None, None], bias * gamma + beta
        constants = self._constant(weights), self._constant(bias)
        name = self._add("Conv", self._value.name, *constants, **window.attributes())
        self._value = _Value(name, (filters, *window.grid(*self._value.shape[1:])))

    def _pool(self, layer: Layer) -> None:
        if layer.kind == "max_pool_2":
            self._value = self._block = self._pooled("MaxPool", self._value, layer)
        elif layer.sizes[0]:
            self._block = self._pooled("AveragePool", self._block, layer)
        else:
            name = self._add("Flatten", self._add("GlobalAveragePool", self._value.name))
            self._value = _Value(name, (self._value.shape[0], 1, 1))

    def _pooled(self, operator: str, value: _Value, layer: Layer) -> _Value:
        window = Window(*layer.sizes)
        name = self._add(operator, value.name, **window.attributes())
        channels, rows, columns = value.shape
        return _Value(name, (channels, *window.grid(rows, columns)))

    def _sum(self) -> None:
        """dlib's add_prev: the smaller operand is padded with zeros behind its last channel, row
        and column."""
        pair = (self._value, self._block)
        channels, rows, columns = map(max, zip(*(each.shape for each in pair), strict=True))
        names = [self._padded(value, (channels, rows, columns)) for value in pair]
        self._value = _Value(self._add("Add", *names), (channels, rows, columns))

    def _padded(self, value: _Value, shape: tuple[int, int, int]) -> str:
        missing = [want - have for want, have in zip(shape, value.shape, strict=True)]
        if not any(missing):
            return value.name
        pads = np.array([0, 0, 0, 0, 0, *missing], dtype=np.int64)
        return self._add("Pad", value.name, self._constant(pads))

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def _constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
