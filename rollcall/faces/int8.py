"""Quantises an ONNX model to 8-bit integers, which halves its processor time (decision 0081).

Activations (the values between layers) become uint8, with one scale for each tensor. Weights become
int8, with one scale for each output channel. The graph gets pairs of the nodes QuantizeLinear and
DequantizeLinear, from which onnxruntime makes integer convolutions ("QDQ", see
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). The ranges of the
activations were measured beforehand, so no pictures are needed to build a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

MAX_WEIGHT = 64
"""Weights use only 7 of the 8 bits. On processors without VNNI, onnxruntime adds two products in 16
bits, and with larger weights the sum would overflow. (onnxruntime's quantiser calls this
`reduce_range`.)"""

Ranges = Mapping[str, tuple[float, float]]
"""Name of a tensor -> its smallest and its largest value."""


def activation_names(model: ModelProto) -> list[str]:
    """Return the names of the tensors whose ranges are needed: the inputs of convolutions and
    additions, except weights."""
    constants = {each.name for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "Add")]
    return sorted({name for node in nodes for name in node.input} - constants)


def quantise(model: ModelProto, ranges: Ranges) -> ModelProto:
    """Return a copy of the model in which convolutions and additions compute with integers."""
    from onnx import helper

    quantiser = _Quantiser(model, ranges)
    for node in model.graph.node:
        quantiser.add_node(node)
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
        """Name of each activation that was quantised so far -> its scale."""

    def add_node(self, node: NodeProto) -> None:
        """Add a copy of the node that reads quantised inputs, and quantise its outputs."""
        from onnx import helper

        # ":real" is the output of the DequantizeLinear node that `_quantise_activation` added.
        inputs = [f"{name}:real" if name in self._scales else name for name in node.input]
        if node.op_type == "Conv":
            inputs[1:] = self._quantise_weights(*node.input)
        else:
            for name in sorted(set(inputs) & self._weights.keys()):
                self._add_constant(name, self._weights[name])
        copy = helper.make_node(node.op_type, inputs, list(node.output))
        copy.attribute.extend(node.attribute)
        self.nodes.append(copy)
        for name in sorted(set(node.output) & self._ranges.keys()):
            self._quantise_activation(name)

    def _quantise_activation(self, name: str) -> None:
        # The range must contain zero, so that zero is exact: convolutions pad with zeros.
        low, high = min(self._ranges[name][0], 0.0), max(self._ranges[name][1], 0.0)
        scale = self._scales[name] = np.float32((high - low) / 255)
        parameters = [
            self._add_constant(f"{name}:scale", scale),
            self._add_constant(f"{name}:zero", np.uint8(round(-low / scale))),
        ]
        self._add_node("QuantizeLinear", [name, *parameters], f"{name}:whole")
        self._add_node("DequantizeLinear", [f"{name}:whole", *parameters], f"{name}:real")

    def _quantise_weights(self, data: str, kernel: str, bias: str = "") -> list[str]:
        """Quantise the weights and the bias of a convolution. Return the names to read them by."""
        weights = self._weights[kernel]
        largest = np.abs(weights).reshape(len(weights), -1).max(axis=1)
        scales = (np.maximum(largest, 1e-8) / MAX_WEIGHT).astype(np.float32)
        whole = np.rint(weights / scales[:, None, None, None]).astype(np.int8)
        names = [self._add_dequantised(kernel, whole, scales)]
        if bias:
            # The bias is added to sums of products, so its scale is that of a product.
            product_scales = scales * self._scales[data]
            whole = np.rint(self._weights[bias] / product_scales).astype(np.int32)
            names.append(self._add_dequantised(bias, whole, product_scales))
        return names

    def _add_dequantised(self, name: str, whole: Any, scales: Any) -> str:
        inputs = [
            self._add_constant(f"{name}:whole", whole),
            self._add_constant(f"{name}:scale", scales),
            self._add_constant(f"{name}:zero", np.zeros(len(scales), whole.dtype)),
        ]
        return self._add_node("DequantizeLinear", inputs, f"{name}:real", axis=0)

    def _add_node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _add_constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name
