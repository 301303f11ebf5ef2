"""Finds faces with CenterFace, a small convolutional network.

1. The network sees the whole picture, scaled down (SCALE). For each cell of 4 x 4 pixels, it
   predicts how likely the centre of a face is there, and the size and landmarks of that face.
2. A candidate that is small, or whose score is in doubt, is checked in an enlarged crop around it.
   If there are too many of them, or no candidate at all, the whole picture is searched once more at
   a larger scale (CLOSE_SCALE).
3. Of candidates that overlap, the one with the best score is kept.

Decision 0080 has the measurements behind the limits. Paper: "CenterFace: Joint Face Detection and
Alignment Using Face as Point" (2019).
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
"""Candidates with a higher score are faces. Measured on 201 pictures (decision 0080): at 0.40 there
are six false faces (an ear, a tattoo), at 0.45 one, at 0.50 none. One real face is lost at 0.45 and
0.50. A shirt pocket has a score of 0.46."""

SCALE = 0.4
"""Scale of the first pass, as a fraction of the picture's size."""

CLOSE_SCALE = 0.6
"""Scale of a second pass over the whole picture."""

CROP_PX = 192
"""Side of a crop as the network sees it."""

MIN_CROP_SOURCE_PX = 240
"""A crop shows at least this much of the picture, because a face needs some surroundings."""

MAX_CROPS = 8
"""Limit for crops. With more of them, a second pass over the whole picture is faster."""

MIN_WIDTH_PX = 384
"""Pictures are not scaled down below this width, except because of MAX_PX."""

MAX_PX = 1 << 20
"""Limit for the pixels that the network sees, so that huge pictures do not need too much memory."""

SMALL_PX = 20
"""Faces below this size, in pixels of the network's input, are checked again. The network finds
nearly all faces of 20 pixels, and half of those of 14."""

DOUBTFUL_SCORE = 0.1
"""Candidates between this score and MIN_SCORE are in doubt. Candidates below it are dropped."""

STRIDE_PX = 4
"""Pixels of the input between two cells of the heat map."""

SIDE_PX = 32
"""Sides of the input are multiples of this, because the network halves them five times."""

MAX_COVERED = 0.4
"""A candidate is dropped if a better one overlaps with it by more than this fraction of the smaller
box."""

MAX_CANDIDATES = 1000
"""Limit for the candidates of one picture. A picture of a stadium shows a few hundred faces that
are large enough."""

Candidates = NDArray[np.float32]
"""Shape (n, 15): the score; then, in pixels of the picture, x and y of the centre, the width, the
height, and x and y of each of the five landmarks. A single candidate has shape (15,)."""

_X, _Y = [1, *range(5, 15, 2)], [2, *range(6, 15, 2)]
"""Columns of a candidate that hold x and y coordinates."""


class CenterFace:
    """Detector that runs CenterFace in onnxruntime. Thread-safe."""

    name = "centerface-1"

    def __init__(self, cache: Path) -> None:
        """`cache` is the folder that caches the ONNX model. Raises WeightsError."""
        self._network = single_thread_session(detector_model(cache))

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        scale = choose_scale(pixels, SCALE)
        close_scale = choose_scale(pixels, CLOSE_SCALE)
        found = _drop_overlapping(self._find_candidates(pixels, scale))
        doubtful = [each for each in found if _is_in_doubt(each, scale)]
        # In a small picture, MIN_WIDTH_PX makes both scales equal, so a second pass is useless.
        if close_scale > scale and (doubtful or not found):
            if 0 < len(doubtful) <= MAX_CROPS:
                closer = self._search_crops(pixels, doubtful)
            else:
                closer = self._find_candidates(pixels, close_scale)
            found = _drop_overlapping(np.vstack([*found, closer]))
        return _to_faces(found, pixels)

    def detect_at(self, pixels: Pixels, scale: float) -> tuple[DetectedFace, ...]:
        """Search the whole picture once, at that scale. Used by benchmarks."""
        return _to_faces(_drop_overlapping(self._find_candidates(pixels, scale)), pixels)

    def _search_crops(self, pixels: Pixels, doubtful: list[Candidates]) -> Candidates:
        """Return the candidates in an enlarged crop around each doubtful candidate."""
        found = []
        for _, x, y, width, height, *_ in doubtful:
            # The crop is at least three times as large as the candidate, and is not enlarged beyond
            # the resolution of the picture.
            scale = min(1.0, CROP_PX / 3 / max(width, height), CROP_PX / MIN_CROP_SOURCE_PX)
            side = round(CROP_PX / scale)
            top, left = (max(0, round(float(each) - side / 2)) for each in (y, x))
            crop = np.ascontiguousarray(pixels[top : top + side, left : left + side])
            near = self._find_candidates(crop, scale)
            # The edge of the crop may cut through a larger face, which the first pass saw whole.
            near = near[near[:, 3:5].max(axis=1) < side / 2]
            near[:, _X] += left
            near[:, _Y] += top
            found.append(near)
        return np.vstack(found)

    def _find_candidates(self, pixels: Pixels, scale: float) -> Candidates:
        network_input = resize_and_pad(pixels, scale)
        heat, sizes, offsets, landmarks = self._network.run(None, {INPUT: network_input})
        # A candidate is a local maximum of the heat map: no neighbour in 3 x 3 cells is higher.
        peaks = heat[0, 0] >= cv2.dilate(heat[0, 0], np.ones((3, 3), np.uint8))
        rows, columns = np.nonzero(peaks & (heat[0, 0] > DOUBTFUL_SCORE))
        score = heat[0, 0, rows, columns]
        # Sizes are logarithms in cells, offsets are parts of a cell, and landmarks are relative to
        # the upper left corner of the box, in parts of its size.
        height, width = np.exp(sizes[0][:, rows, columns]) * STRIDE_PX
        y = (rows + offsets[0, 0, rows, columns] + 0.5) * STRIDE_PX
        x = (columns + offsets[0, 1, rows, columns] + 0.5) * STRIDE_PX
        points = []
        for point_y, point_x in landmarks[0][:, rows, columns].reshape(5, 2, -1):
            points += [x + (point_x - 0.5) * width, y + (point_y - 0.5) * height]
        coordinates = np.stack([x, y, width, height, *points], axis=1) / scale
        return np.column_stack([score, coordinates])


def choose_scale(pixels: Pixels, wanted: float) -> float:
    """Return the wanted scale, but a larger one for a small picture and a smaller one for a huge
    picture. The result is at most 1."""
    height, width = pixels.shape[:2]
    largest: float = math.sqrt(MAX_PX / (width * height))
    # MIN_WIDTH_PX keeps a narrow, tall picture at its full size, so that only `largest` limits its
    # memory.
    scale: float = min(1.0, max(wanted, MIN_WIDTH_PX / width), largest)
    return scale


def resize_and_pad(pixels: Pixels, scale: float) -> Pixels:
    """Scale the picture, and add black below and to the right up to multiples of SIDE_PX."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    # Linear interpolation reads only the four nearest pixels, so a picture that becomes much
    # smaller would be sampled instead of averaged. INTER_AREA averages, but it is fast only for
    # whole factors. Therefore the picture is first halved with INTER_AREA.
    while scale <= 0.5:
        halves = (max(1, pixels.shape[1] // 2), max(1, pixels.shape[0] // 2))
        pixels = np.asarray(cv2.resize(pixels, halves, interpolation=cv2.INTER_AREA), np.uint8)
        scale *= 2
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    padded = np.zeros((_round_up(height), _round_up(width), 3), dtype=np.uint8)
    padded[:height, :width] = small
    return padded


def _round_up(side_px: int) -> int:
    return -(-side_px // SIDE_PX) * SIDE_PX


def _drop_overlapping(candidates: Candidates) -> list[Candidates]:
    """Return the candidates, best score first, without those that overlap a better one too much."""
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
        # Compared with the smaller area and not with the union (IoU), because a small box inside a
        # large one has a low IoU: with a limit of 0.3, one of six large faces kept two boxes.
        dropped |= shared_area > MAX_COVERED * np.minimum(areas[index], areas)
    return kept


def _is_in_doubt(candidate: Candidates, scale: float) -> bool:
    score, _, _, width, height = candidate[:5]
    return bool(score <= MIN_SCORE or min(width, height) * scale < SMALL_PX)


def _to_faces(candidates: list[Candidates], pixels: Pixels) -> tuple[DetectedFace, ...]:
    """Return the candidates that are faces, the largest first."""
    faces = [_to_face(each, *pixels.shape[:2]) for each in candidates if each[0] > MIN_SCORE]
    return tuple(sorted(faces, key=lambda face: -face.box.area_px))


def _to_face(candidate: Candidates, height: int, width: int) -> DetectedFace:
    """Return a face with a square box, as encoders need it, cut off at the edges of the picture."""
    score, x, y, face_width, face_height, *points = candidate.tolist()
    half = (face_width + face_height) / 4
    box = Box(
        top=min(max(0, round(y - half)), height - 1),
        right=max(min(width, round(x + half)), 1),
        bottom=max(min(height, round(y + half)), 1),
        left=min(max(0, round(x - half)), width - 1),
    )
    return DetectedFace(box, np.array(points, dtype=np.float64).reshape(5, 2), score)
