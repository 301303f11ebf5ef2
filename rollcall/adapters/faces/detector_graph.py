"""dlib's CNN face detector as an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rollcall.adapters.faces.dlib_weights import Layer, WeightsError
from rollcall.adapters.faces.onnx_graph import Graph, Kernel, kernel, with_affine

_BLOCK = 16
"""onnxruntime's fast convolution needs channels in multiples of it (AVX-512; 8 or less elsewhere).
The detector's 45 become 48, of which 3 stay zero."""


def detector_graph(layers: Sequence[Layer]) -> bytes:
    """ONNX bytes: `sheet`, float32 (1, 3, height, width), to `scores`, (1, 1, rows, columns).

    The picture is normalised beforehand: the empty parts of dlib's sheet are zero behind the
    normalisation, not before it.
    """
    from onnx import TensorProto, helper

    kernels = [kernel(*pair) for pair in with_affine(layers) if pair[0].kind == "con_4"]
    if not kernels or len(kernels[-1].bias) != 1:
        raise WeightsError("the network does not end in one score")
    graph = Graph()
    value, channels = "sheet", 3
    for step in kernels[:-1]:
        widened = _widened(step, channels)
        value = graph.add("Relu", graph.convolution(value, widened))
        channels = len(widened.bias)
    graph.convolution(value, _mirrored(_with_channels(kernels[-1], channels)), "ConvTranspose")
    return graph.model(
        "detector",
        helper.make_tensor_value_info("sheet", TensorProto.FLOAT, [1, 3, "height", "width"]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, "rows", "columns"]),
    )


def _widened(step: Kernel, channels: int) -> Kernel:
    """With filters of zeros up to a whole block."""
    step = _with_channels(step, channels)
    missing = -len(step.bias) % _BLOCK
    weights = np.pad(step.weights, [(0, missing), (0, 0), (0, 0), (0, 0)])
    return Kernel(weights, np.pad(step.bias, (0, missing)), step.window)


def _with_channels(step: Kernel, channels: int) -> Kernel:
    missing = channels - step.weights.shape[1]
    weights = np.pad(step.weights, [(0, 0), (0, missing), (0, 0), (0, 0)])
    return step._replace(weights=weights)


def _mirrored(step: Kernel) -> Kernel:
    """The same sums as a ConvTranspose, which is the mirror of a convolution where the stride is
    one. For a single filter onnxruntime does it five times as fast: one matrix product, then 81
    shifted additions, instead of a matrix product with one row."""
    weights = step.weights[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return step._replace(weights=weights)
