"""dlib's networks as ONNX models, built once and kept in a cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rollcall.adapters.dlib_weights import Layer, WeightsError, model_path, read_layers

log = logging.getLogger(__name__)

ENCODER = "dlib_face_recognition_resnet_model_v1.dat"
BUILDER_VERSION = 1
"""Part of the cache's name; goes up when the graph changes."""

CHIP_PX = 150
MEAN_RGB = (122.782, 117.001, 104.298)
"""Subtracted from the pixels, then divided by 256 (dlib, input_rgb_image_sized)."""

_OPSET = 17
_IR_VERSION = 9


def encoder_model(cache: Path) -> bytes:
    """ONNX bytes: `chips`, uint8 (n, 150, 150, 3) RGB -> `encodings`, float32 (n, 128)."""
    return _cached(cache, ENCODER, _encoder_graph)


def _cached(cache: Path, weights: str, build: Callable[[Sequence[Layer]], bytes]) -> bytes:
    """The model of these weights. The cache's file names the hash of both, so a damaged one is
    found and built anew; where the cache cannot be written, the model is built at every start."""
    data = model_path(weights).read_bytes()
    key = hashlib.sha256(data).hexdigest()[:16]
    stem = f"{Path(weights).stem}-{key}-v{BUILDER_VERSION}-"
    for path in sorted(cache.glob(f"{stem}*.onnx")):
        model = path.read_bytes()
        if path.stem == stem + _short_hash(model):
            return model
        log.warning("the cached model %s is damaged; it is built again", path.name)
        path.unlink(missing_ok=True)
    model = build(read_layers(data))
    _keep(cache, f"{stem}{_short_hash(model)}.onnx", model)
    return model


def _short_hash(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()[:16]


def _keep(cache: Path, name: str, model: bytes) -> None:
    """Whole or not at all; two processes may build the same at once."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=cache, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            file.write(model)
        os.replace(part, cache / name)
    except OSError as error:
        log.warning("the model could not be cached, each start builds it again: %s", error)


class _Graph:
    """Nodes and weights of an ONNX graph under construction; every step tells its output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, values: Any) -> str:
        from onnx import numpy_helper

        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def model(self, name: str, input_: Any, output: Any) -> bytes:
        from onnx import helper

        graph = helper.make_graph(self.nodes, name, [input_], [output], self.weights)
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
        serialised: bytes = model.SerializeToString()
        return serialised


class _Value:
    """An output of the graph, with its channels, rows and columns."""

    def __init__(self, name: str, channels: int, rows: int, columns: int) -> None:
        self.name = name
        self.shape = (channels, rows, columns)


def _encoder_graph(layers: Sequence[Layer]) -> bytes:
    from onnx import TensorProto, helper

    graph = _Graph()
    value = _normalised(graph, "chips", CHIP_PX, CHIP_PX)
    block = value
    index = 0
    while index < len(layers):
        layer = layers[index]
        folded = index + 1 < len(layers) and layers[index + 1].kind == "affine_"
        if layer.kind == "con_4":
            value = _convolution(graph, value, layer, layers[index + 1] if folded else None)
            index += folded
        elif layer.kind == "relu_":
            value = _Value(graph.add("Relu", value.name), *value.shape)
            # A block begins behind the ReLU that ends the one before it.
            if layers[index - 1].kind == "add_prev_":
                block = value
        elif layer.kind == "max_pool_2":
            block = value = _pool(graph, "MaxPool", value, layer)
        elif layer.kind == "avg_pool_2" and layer.sizes[0]:
            block = _pool(graph, "AveragePool", block, layer)
        elif layer.kind == "add_prev_":
            value = _sum(graph, value, block)
        elif layer.kind == "avg_pool_2":
            flat = graph.add("Flatten", graph.add("GlobalAveragePool", value.name))
            value = _Value(flat, value.shape[0], 1, 1)
        else:
            weights = layer.weights.reshape(value.shape[0], -1)
            value = _Value(graph.add("MatMul", value.name, graph.constant(weights)), 128, 1, 1)
        index += 1
    last = graph.add("Identity", value.name)
    graph.nodes[-1].output[0] = "encodings"
    del last
    shape = ["n", CHIP_PX, CHIP_PX, 3]
    return graph.model(
        "encoder",
        helper.make_tensor_value_info("chips", TensorProto.UINT8, shape),
        helper.make_tensor_value_info("encodings", TensorProto.FLOAT, ["n", 128]),
    )


def _normalised(graph: _Graph, name: str, rows: int, columns: int) -> _Value:
    from onnx import TensorProto

    planes = graph.add("Transpose", graph.add("Cast", name, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    mean = graph.constant(np.array(MEAN_RGB, dtype=np.float32).reshape(1, 3, 1, 1))
    scale = graph.constant(np.float32(1 / 256))
    return _Value(graph.add("Mul", graph.add("Sub", planes, mean), scale), 3, rows, columns)


def _convolution(graph: _Graph, value: _Value, layer: Layer, affine: Layer | None) -> _Value:
    """The affine layer behind it (gamma, beta) is folded into its weights."""
    filters, height, width, stride_y, stride_x, pad_y, pad_x = layer.sizes
    channels, rows, columns = value.shape
    count = filters * channels * height * width
    flat = layer.weights.ravel()
    weights, bias = flat[:count].reshape(filters, channels, height, width), flat[count:]
    if affine is not None:
        gamma, beta = affine.weights.reshape(2, filters)
        weights, bias = weights * gamma[:, None, None, None], bias * gamma + beta
    name = graph.add(
        "Conv", value.name, graph.constant(weights), graph.constant(bias),
        kernel_shape=[height, width], strides=[stride_y, stride_x],
        pads=[pad_y, pad_x, pad_y, pad_x],
    )
    out = [(rows + 2 * pad_y - height) // stride_y + 1, (columns + 2 * pad_x - width) // stride_x + 1]
    return _Value(name, filters, *out)


def _pool(graph: _Graph, operator: str, value: _Value, layer: Layer) -> _Value:
    height, width, stride_y, stride_x, pad_y, pad_x = layer.sizes
    channels, rows, columns = value.shape
    name = graph.add(
        operator, value.name, kernel_shape=[height, width], strides=[stride_y, stride_x],
        pads=[pad_y, pad_x, pad_y, pad_x],
    )
    out = [(rows + 2 * pad_y - height) // stride_y + 1, (columns + 2 * pad_x - width) // stride_x + 1]
    return _Value(name, channels, *out)


def _sum(graph: _Graph, left: _Value, right: _Value) -> _Value:
    """dlib's add_prev: the smaller operand is padded with zeros behind its last channel, row and
    column."""
    shape = tuple(max(a, b) for a, b in zip(left.shape, right.shape, strict=True))
    names = [_padded(graph, value, shape) for value in (left, right)]
    return _Value(graph.add("Add", *names), *shape)


def _padded(graph: _Graph, value: _Value, shape: tuple[int, ...]) -> str:
    missing = [want - have for want, have in zip(shape, value.shape, strict=True)]
    if not any(missing):
        return value.name
    pads = np.array([0, 0, 0, 0, 0, *missing], dtype=np.int64)
    return graph.add("Pad", value.name, graph.constant(pads))
