"""dlib's CNN face detector, run by onnxruntime.

The same boxes as `dlib.cnn_face_detection_model_v1(path)(image, 0)` in a twentieth of the time. It
finds faces from 80 pixels on, also turned ones that dlib's HOG detector does not see.
Source: loss_mmod_ in dlib/dnn/loss.h.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rollcall.adapters.faces.dlib_weights import (
    WeightsError,
    model_path,
    read_fraction,
    read_integer,
)
from rollcall.adapters.faces.onnx_models import DETECTOR, detector_model, single_thread_session
from rollcall.adapters.faces.tiled_pyramid import (
    AROUND_PX,
    Rectangle,
    TiledPyramid,
    nearest_integer,
    tiled_pyramid,
)
from rollcall.core.types import Box, Pixels

CELL_PX = 8
FIRST_CELL_PX = 14
"""Distance of two scores on the sheet, and the centre of the first: three convolutions of 5 x 5
with stride 2 and no padding."""

FIELD_PX = 29
"""A smaller sheet has no score."""

_HEADER = b"loss_mmod_"
_OLD_HEADER = 1
"""The version that has one window."""


class Rules(NamedTuple):
    """The detector's window, and which of two boxes that overlap is suppressed."""

    width_px: int
    height_px: int
    overlap: float
    """Suppressed above this part of the rectangle around both. dlib calls it an intersection over
    union, but this is what it computes (test_box_overlap)."""
    covered: float
    """Suppressed above this covered part of either."""

    def suppress(self, box: Box, other: Box) -> bool:
        inner = _area_px(
            max(box.top, other.top),
            min(box.right, other.right),
            min(box.bottom, other.bottom),
            max(box.left, other.left),
        )
        outer = _area_px(
            min(box.top, other.top),
            max(box.right, other.right),
            max(box.bottom, other.bottom),
            min(box.left, other.left),
        )
        smaller = min(box.area_px, other.area_px)
        return inner > self.overlap * outer or inner > self.covered * smaller


def read_rules(data: bytes) -> Rules:
    """From the head of a detector's file. Raises WeightsError."""
    start = data.find(_HEADER, 0, 64)
    if start < 0:
        raise WeightsError("the file holds no detector")
    try:
        return _rules(data, start + len(_HEADER))
    except IndexError as error:
        raise WeightsError("the detector's header is cut off") from error


def _rules(data: bytes, position: int) -> Rules:
    version, position = read_integer(data, position)
    if version != _OLD_HEADER:
        raise WeightsError(f"the detector's header has version {version}; {_OLD_HEADER} is known")
    width_px, position = read_integer(data, position)
    height_px, position = read_integer(data, position)
    # The loss of a false alarm and of a miss, and the overlap of a hit, mattered in training.
    fractions = []
    for _ in range(5):
        fraction, position = read_fraction(data, position)
        fractions.append(fraction)
    return Rules(width_px, height_px, overlap=fractions[3], covered=fractions[4])


class CnnDetector:
    """Finds faces; safe to use from several threads."""

    def __init__(self, cache: Path) -> None:
        """`cache` is the folder that keeps the ONNX model. Raises WeightsError."""
        self._rules = read_rules(model_path(DETECTOR).read_bytes())
        self._network = single_thread_session(detector_model(cache))

    def detect(self, pixels: Pixels) -> list[tuple[Box, float]]:
        """Faces in an RGB picture, shape (height, width, 3), the surest first, each with its score
        above 0; clear faces have about 1. A box may reach beyond the picture."""
        height, width = pixels.shape[:2]
        if min(height, width) + 2 * AROUND_PX < FIELD_PX:
            return []
        sheet = tiled_pyramid(width, height)
        (scores,) = self._network.run(None, {"sheet": sheet.draw(pixels)})
        return self._unsuppressed(self._candidates(sheet, scores[0, 0]))

    def _candidates(
        self, sheet: TiledPyramid, scores: NDArray[np.float32]
    ) -> list[tuple[Box, float]]:
        """A box for every positive score, shape (rows, columns)."""
        rows, columns = np.nonzero(scores > 0)
        rectangles = [
            sheet.to_picture(self._window(row, column))
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ]
        return list(zip(map(_box, rectangles), scores[rows, columns].tolist(), strict=True))

    def _window(self, row: int, column: int) -> Rectangle:
        """On the sheet; the last pixel is inside."""
        x, y = FIRST_CELL_PX + CELL_PX * column, FIRST_CELL_PX + CELL_PX * row
        dx, dy = (self._rules.width_px - 1) / 2, (self._rules.height_px - 1) / 2
        return x - dx, y - dy, x + dx, y + dy

    def _unsuppressed(self, candidates: list[tuple[Box, float]]) -> list[tuple[Box, float]]:
        """From the surest on, what overlaps none before it."""
        kept: list[tuple[Box, float]] = []
        for box, score in sorted(candidates, key=lambda candidate: -candidate[1]):
            if not any(self._rules.suppress(box, other) for other, _ in kept):
                kept.append((box, score))
        return kept


def _box(rectangle: Rectangle) -> Box:
    left, top, right, bottom = map(nearest_integer, rectangle)
    return Box(top, right + 1, bottom + 1, left)


def _area_px(top: int, right: int, bottom: int, left: int) -> int:
    return max(0, bottom - top) * max(0, right - left)
