"""How a stored frame is shown: upright, not mirrored, and with square pixels.

Containers store a display matrix (ISO/IEC 14496-12, 8.3.2: a point (x, y) is shown at
(ax + cy, bx + dy)) and a pixel aspect ratio, the width of a stored pixel divided by its height.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from rollcall.core.types import Pixels

MATRIX_SIZE = 9
"""Rows (a b u), (c d v) and (x y w)."""

MAX_PIXEL_ASPECT = 10
"""Formats use up to 3. Beyond this the number is damaged, and is ignored."""

SAME_ASPECT = 0.01
"""Ratios that differ by less than this share are the same: the difference is under a pixel in a
hundred."""


class Orientation(NamedTuple):
    """One of eight ways to show a frame. First its axes are swapped, then it is mirrored."""

    swap_axes: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, pixels: Pixels) -> Pixels:
        """Pixels of shape (height, width, 3), contiguous."""
        if self.swap_axes:
            pixels = pixels.transpose(1, 0, 2)
        step_x, step_y = (-1 if mirrored else 1 for mirrored in (self.mirror_x, self.mirror_y))
        return np.ascontiguousarray(pixels[::step_y, ::step_x], dtype=np.uint8)


def orientation_of(matrix: Sequence[int]) -> Orientation:
    """The nearest of the eight orientations; a matrix without meaning changes nothing."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if a * d == b * c:
        return Orientation()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def pixel_aspect_of(matrix: Sequence[int], pixel_aspect: Fraction | None) -> Fraction:
    """The aspect ratio of a stored pixel.

    FFmpeg's MP4 demuxer turns a matrix that stretches into a pixel aspect ratio, the width of the
    *shown* pixel divided by its height. Where the matrix also swaps the axes, that is the inverse
    of the stored pixel's.
    """
    found = pixel_aspect or Fraction(1)
    if not orientation_of(matrix).swap_axes:
        return found
    stretch = abs(matrix[3] / matrix[1])
    by_matrix = not _same(stretch, 1.0) and _same(stretch, float(found))
    return 1 / found if by_matrix else found


def shown_size(width: int, height: int, pixel_aspect: Fraction, max_px: int) -> tuple[int, int]:
    """Width and height of the frame with square pixels, before its axes are swapped.

    The shorter direction is enlarged, so that no detail is lost, unless that makes more than
    `max_px` pixels: then both directions shrink to fit.
    """
    ratio = float(pixel_aspect)
    if _same(ratio, 1.0) or not 1 / MAX_PIXEL_ASPECT <= ratio <= MAX_PIXEL_ASPECT:
        return width, height
    wide, high = width * max(1.0, ratio), height * max(1.0, 1 / ratio)
    shrink = min(1.0, math.sqrt(max_px / (wide * high)))
    shown_height = max(1, math.floor(high * shrink + 1e-6))
    shown_width = min(max(1, math.floor(wide * shrink + 1e-6)), max_px // shown_height)
    return shown_width, min(shown_height, max_px // shown_width)


def _same(ratio: float, other: float) -> bool:
    return abs(ratio / other - 1.0) <= SAME_ASPECT
