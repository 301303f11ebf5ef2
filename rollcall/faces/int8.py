"""Quantises an ONNX model to 8-bit integers, with activation ranges that were measured before.

Activations become uint8, one scale a tensor; weights become int8, one scale an output channel. The
graph gets pairs of QuantizeLinear and DequantizeLinear, which onnxruntime turns into integer
convolutions (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

LARGEST_WEIGHT = 64
"""Of 127. On processors without VNNI, onnxruntime adds two products in 16 bits, which would
overflow with larger weights (the option `reduce_range` of onnxruntime's own quantiser)."""

Ranges = Mapping[str, tuple[float, float]]
"""Tensor -> its smallest and its largest value."""


def activations(model: ModelProto) -> list[str]:
    """The tensors that need a range: what convolutions and additions read, without the weights."""
    constants = {each.name for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "Add")]
    return sorted({name for node in nodes for name in node.input} - constants)


def quantised(model: ModelProto, ranges: Ranges) -> ModelProto:
    """A copy of the model in which convolutions and additions compute with integers."""
    from onnx import helper

    quantiser = _Quantiser(model, ranges)
    for node in model.graph.node:
        quantiser.add(node)
    graph = model.graph
    result = helper.make_graph(
        quantiser.nodes, graph.name, graph.input, graph.output, quantiser.constants
    )
    return helper.make_model(result, opset_imports=model.opset_import, ir_version=model.ir_version)


class _Quantiser:
    def __init__(self, model: ModelProto, ranges: Ranges) -> None:
        from onnx import numpy_helper

        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self._ranges = ranges
        self._scales: dict[str, np.float32] = {}
        """Of each quantised activation."""

    def add(self, node: NodeProto) -> None:
        from onnx import helper

        inputs = [f"{name}:real" if name in self._scales else name for name in node.input]
        if node.op_type == "Conv":
            inputs[1:] = self._convolution_weights(*node.input)
        else:
            for name in sorted(set(inputs) & self._weights.keys()):
                self._constant(name, self._weights[name])
        copy = helper.make_node(node.op_type, inputs, list(node.output))
        copy.attribute.extend(node.attribute)
        self.nodes.append(copy)
        for name in sorted(set(node.output) & self._ranges.keys()):
            self._activation(name)

    def _activation(self, name: str) -> None:
        """Zero is within the range, because paddings have to be exact."""
        low, high = min(self._ranges[name][0], 0.0), max(self._ranges[name][1], 0.0)
        scale = self._scales[name] = np.float32((high - low) / 255)
        parameters = [
            self._constant(f"{name}:scale", scale),
            self._constant(f"{name}:zero", np.uint8(round(-low / scale))),
        ]
        self._node("QuantizeLinear", [name, *parameters], f"{name}:whole")
        self._node("DequantizeLinear", [f"{name}:whole", *parameters], f"{name}:real")

    def _convolution_weights(self, data: str, kernel: str, bias: str = "") -> list[str]:
        """Names of the dequantised weights, and of the bias, whose scale is that of products."""
        weights = self._weights[kernel]
        largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
        scales = (np.maximum(largest, 1e-8) / LARGEST_WEIGHT).astype(np.float32)
        whole = np.rint(weights / scales[:, None, None, None]).astype(np.int8)
        names = [self._dequantised(kernel, whole, scales)]
        if bias:
            products = scales * self._scales[data]
            whole = np.rint(self._weights[bias] / products).astype(np.int32)
            names.append(self._dequantised(bias, whole, products))
        return names

    def _dequantised(self, name: str, whole: Any, scales: Any) -> str:
        inputs = [
            self._constant(f"{name}:whole", whole),
            self._constant(f"{name}:scale", scales),
            self._constant(f"{name}:zero", np.zeros(len(scales), whole.dtype)),
        ]
        return self._node("DequantizeLinear", inputs, f"{name}:real", axis=0)

    def _node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name
