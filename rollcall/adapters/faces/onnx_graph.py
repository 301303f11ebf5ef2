"""Builds ONNX graphs from dlib's layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollcall.adapters.faces.dlib_weights import Layer

_OPSET = 17
_IR_VERSION = 9


class Graph:
    """Nodes and weights of an ONNX graph under construction; every step tells its output."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def convolution(self, name: str, kernel: Kernel, operator: str = "Conv") -> str:
        return self.add(
            operator,
            name,
            self.constant(kernel.weights),
            self.constant(kernel.bias),
            **window_attributes(kernel.window),
        )

    def model(self, name: str, input_: Any, output: Any) -> bytes:
        """The finished model; the last step is its output."""
        from onnx import helper

        self._nodes[-1].output[0] = output.name
        graph = helper.make_graph(self._nodes, name, [input_], [output], self._weights)
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
        serialised: bytes = model.SerializeToString()
        return serialised


class Window(NamedTuple):
    """What a convolution or a pool looks at; the order is that of dlib's files."""

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


class Kernel(NamedTuple):
    """A convolution: weights of shape (filters, channels, rows, columns), bias (filters,)."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    window: Window


def with_affine(layers: Sequence[Layer]) -> list[tuple[Layer, Layer | None]]:
    """Every layer with the affine one that follows it, which is folded into its weights."""
    following = [*layers[1:], None]
    return [
        (layer, behind if behind and behind.kind == "affine_" else None)
        for layer, behind in zip(layers, following, strict=True)
        if layer.kind != "affine_"
    ]


def kernel(layer: Layer, affine: Layer | None) -> Kernel:
    """The convolution of a con layer, and the affine layer (gamma, beta) behind it."""
    filters, window = layer.sizes[0], Window(*layer.sizes[1:])
    flat = layer.weights.ravel()
    weights = flat[:-filters].reshape(filters, -1, window.rows, window.columns)
    bias = flat[-filters:]
    if affine is not None:
        gamma, beta = affine.weights.reshape(2, filters)
        weights, bias = weights * gamma[:, None, None, None], bias * gamma + beta
    return Kernel(weights, bias, window)


def window_attributes(window: Window) -> dict[str, list[int]]:
    """As ONNX names them."""
    return {
        "kernel_shape": [window.rows, window.columns],
        "strides": [window.stride_y, window.stride_x],
        "pads": 2 * [window.padding_y, window.padding_x],
    }
