"""CenterFace, a small network that finds faces of every size in one run.

Paper: "CenterFace: Joint Face Detection and Alignment Using Face as Point" (2019).
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rollcall.core.types import Box, DetectedFace, Pixels
from rollcall.faces.centerface_graph import INPUT
from rollcall.faces.onnx_models import detector_model, single_thread_session

MIN_SCORE = 0.5
"""Measured on 201 pictures (decision page 0080): six false faces at 0.40 (an ear, a tattoo), one at
0.45, none at 0.50; and one real face less at 0.45 and 0.50. A shirt pocket has 0.46."""

SCALE = 0.4
CLOSE_SCALE = 0.6
PLACE_PX = 192
MIN_PLACE_PX = 240
MAX_PLACES = 8
"""First a picture is looked at from afar. Then up to MAX_PLACES candidates that are small or in
doubt are looked at closely, each in a part of the picture that is shrunk to PLACE_PX and shows at
least MIN_PLACE_PX of it. If there are more of them, or none at all, the whole picture is looked at
once more (decision page 0080)."""

MIN_WIDTH_PX = 384
MAX_PX = 1 << 20
"""Of the picture that the network sees. A strip of 16 x 16,000 pixels would take gigabytes."""

SMALL_PX = 20
"""In the picture that the network sees. It finds nearly all faces of 20 pixels, and half of those
of 14."""

DOUBTFUL_SCORE = 0.1
"""A candidate between this and MIN_SCORE is in doubt."""

STRIDE_PX = 4
"""Distance of two cells of the heat map."""

SIDE_PX = 32
"""The network halves a picture five times."""

MAX_COVERED = 0.4
"""A box is dropped when a surer one and it share this much of the smaller one's area."""

MAX_CANDIDATES = 1000
"""In one picture. A stadium shows a few hundred faces that are large enough."""

Planes = NDArray[np.float32]

_X, _Y = [1, *range(5, 15, 2)], [2, *range(6, 15, 2)]
"""The columns of a candidate that are places in the picture."""


class CenterFace:
    """Detector with CenterFace in onnxruntime. Safe for threads."""

    name = "centerface-1"

    def __init__(self, cache: Path) -> None:
        """`cache` is the folder that keeps the ONNX model. Raises WeightsError."""
        self._network = single_thread_session(detector_model(cache))

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        scale = scale_of(pixels, SCALE)
        close_scale = scale_of(pixels, CLOSE_SCALE)
        found = _distinct(self._candidates(pixels, scale))
        doubtful = [each for each in found if _is_in_doubt(each, scale)]
        if close_scale > scale and (doubtful or not found):
            few = 0 < len(doubtful) <= MAX_PLACES
            closer = (
                self._around(pixels, doubtful) if few else self._candidates(pixels, close_scale)
            )
            found = _distinct(np.vstack([*found, closer]))
        return _faces(found, pixels)

    def _around(self, pixels: Pixels, doubtful: list[Planes]) -> Planes:
        """The candidates of close looks at the places of those ones. A place has three times the
        size of its candidate at least, because a face needs some surroundings."""
        seen = []
        for _, x, y, width, height, *_ in doubtful:
            scale = min(1.0, PLACE_PX / 3 / max(width, height), PLACE_PX / MIN_PLACE_PX)
            side = round(PLACE_PX / scale)
            top, left = (max(0, round(float(each) - side / 2)) for each in (y, x))
            part = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            near = self._candidates(part, scale)
            # The border of the part may cut a larger face, which the first look has seen whole.
            near = near[near[:, 3:5].max(axis=1) < side / 2]
            near[:, _X] += left
            near[:, _Y] += top
            seen.append(near)
        return np.vstack(seen)

    def detect_at(self, pixels: Pixels, scale: float) -> tuple[DetectedFace, ...]:
        """One look at the picture at that scale, for measurements."""
        return _faces(_distinct(self._candidates(pixels, scale)), pixels)

    def _candidates(self, pixels: Pixels, scale: float) -> Planes:
        """Shape (n, 15): score, then in pixels of the picture x and y of the centre, width and
        height, x and y of each landmark."""
        heat, sizes, offsets, landmarks = self._network.run(None, {INPUT: resized(pixels, scale)})
        peaks = heat[0, 0] >= cv2.dilate(heat[0, 0], np.ones((3, 3), np.uint8))
        rows, columns = np.nonzero(peaks & (heat[0, 0] > DOUBTFUL_SCORE))
        score = heat[0, 0, rows, columns]
        height, width = np.exp(sizes[0][:, rows, columns]) * STRIDE_PX
        y = (rows + offsets[0, 0, rows, columns] + 0.5) * STRIDE_PX
        x = (columns + offsets[0, 1, rows, columns] + 0.5) * STRIDE_PX
        points = []
        for point_y, point_x in landmarks[0][:, rows, columns].reshape(5, 2, -1):
            points += [x + (point_x - 0.5) * width, y + (point_y - 0.5) * height]
        places = np.stack([x, y, width, height, *points], axis=1) / scale
        return np.column_stack([score, places])


def scale_of(pixels: Pixels, wanted: float) -> float:
    """The wanted scale; larger for a small picture, smaller for a huge one."""
    height, width = pixels.shape[:2]
    most: float = math.sqrt(MAX_PX / (width * height))
    scale: float = min(1.0, max(wanted, MIN_WIDTH_PX / width), most)
    return scale


def resized(pixels: Pixels, scale: float) -> Pixels:
    """At that scale, with black below and to the right up to sides that the network takes.

    A mean over pixels is quick only where their number is whole, so a picture that becomes much
    smaller is halved first.
    """
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    while scale <= 0.5:
        halves = (max(1, pixels.shape[1] // 2), max(1, pixels.shape[0] // 2))
        pixels = np.asarray(cv2.resize(pixels, halves, interpolation=cv2.INTER_AREA), np.uint8)
        scale *= 2
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    padded = np.zeros((_rounded_up(height), _rounded_up(width), 3), dtype=np.uint8)
    padded[:height, :width] = small
    return padded


def _rounded_up(side_px: int) -> int:
    return -(-side_px // SIDE_PX) * SIDE_PX


def _distinct(candidates: Planes) -> list[Planes]:
    """The surest first, and of those that overlap only the surest."""
    candidates = candidates[np.argsort(-candidates[:, 0], kind="stable")][:MAX_CANDIDATES]
    middles, sizes = candidates[:, 1:3], candidates[:, 3:5]
    starts, ends, areas = middles - sizes / 2, middles + sizes / 2, sizes.prod(axis=1)
    kept, dropped = [], np.zeros(len(candidates), dtype=bool)
    for index, candidate in enumerate(candidates):
        if dropped[index]:
            continue
        kept.append(candidate)
        shared = np.minimum(ends[index], ends) - np.maximum(starts[index], starts)
        shared_area = np.clip(shared, 0, None).prod(axis=1)
        dropped |= shared_area > MAX_COVERED * np.minimum(areas[index], areas)
    return kept


def _is_in_doubt(candidate: Planes, scale: float) -> bool:
    score, _, _, width, height = candidate[:5]
    return bool(score <= MIN_SCORE or min(width, height) * scale < SMALL_PX)


def _faces(candidates: list[Planes], pixels: Pixels) -> tuple[DetectedFace, ...]:
    """The largest first."""
    found = [_face(each, *pixels.shape[:2]) for each in candidates if each[0] > MIN_SCORE]
    return tuple(sorted(found, key=lambda face: -face.box.area_px))


def _face(values: Planes, height: int, width: int) -> DetectedFace:
    """The box is square, except that it ends where the picture ends."""
    score, x, y, face_width, face_height, *points = values.tolist()
    half = (face_width + face_height) / 4
    box = Box(
        top=min(max(0, round(y - half)), height - 1),
        right=max(min(width, round(x + half)), 1),
        bottom=max(min(height, round(y + half)), 1),
        left=min(max(0, round(x - half)), width - 1),
    )
    return DetectedFace(box, np.array(points, dtype=np.float64).reshape(5, 2), score)
