"""Measures the ranges of CenterFace's activations, from which its 8-bit version gets its scales.

    python -m benchmarks.activation_ranges FOLDER... > rollcall/faces/centerface_ranges.json

The folders should hold pictures that look like frames of videos: faces of all sizes, groups, rooms.
The output has two numbers for each tensor, the smallest and the largest value, and contains no part
of the pictures.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import numpy as np

from rollcall.core.errors import PhotoError
from rollcall.faces.centerface import resize_and_pad
from rollcall.faces.centerface_graph import INPUT, centerface_graph
from rollcall.faces.int8 import activation_names
from rollcall.faces.onnx_models import centerface_path, single_thread_session
from rollcall.gallery.photos import read_photo

WIDTHS_PX = (256, 512, 960)
"""Each picture is given to the detector at each of these widths."""


def activation_ranges(paths: list[Path]) -> dict[str, tuple[float, float]]:
    """Return, for each tensor, its smallest and largest value over all pictures and widths."""
    from onnx import TensorProto, helper

    model = centerface_graph(centerface_path().read_bytes())
    names = activation_names(model)
    outputs = {each.name for each in model.graph.output}
    # A session returns only outputs, so every activation is made an output.
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in names
        if name not in outputs
    )
    network = single_thread_session(model.SerializeToString())
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for path in paths:
        try:
            pixels = read_photo(path)
        except PhotoError as error:
            print(error, file=sys.stderr)
            continue
        for width_px in WIDTHS_PX:
            values = network.run(names, {INPUT: resize_and_pad(pixels, width_px / pixels.shape[1])})
            low = np.minimum(low, [each.min() for each in values])
            high = np.maximum(high, [each.max() for each in values])
    return {
        name: (round(float(a), 4), round(float(b), 4))
        for name, a, b in zip(names, low, high, strict=True)
    }


if __name__ == "__main__":
    pictures = [path for folder in sys.argv[1:] for path in sorted(Path(folder).iterdir())]
    if not pictures:
        sys.exit(__doc__)
    print("\n".join(textwrap.wrap(json.dumps(activation_ranges(pictures)), 98)))
