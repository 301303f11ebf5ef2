"""Computes how a stored frame has to be turned, mirrored and scaled to look right.

Containers store a display matrix and a pixel aspect ratio. The matrix moves a point (x, y) to
(ax + cy, bx + dy) (ISO/IEC 14496-12, 8.3.2). The pixel aspect ratio is the width of a stored pixel
divided by its height; the frames of this program have square pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from rollcall.core.types import Pixels

MATRIX_SIZE = 9
"""Number of numbers in a display matrix, in rows: (a b u), (c d v) and (x y w)."""

MAX_PIXEL_ASPECT = 10
"""Largest plausible pixel aspect ratio. Formats use up to 3; a ratio above 10 is damaged metadata,
and is ignored."""

SAME_ASPECT = 0.01
"""Ratios that differ by at most this fraction count as equal: one pixel in a hundred."""


class Orientation(NamedTuple):
    """One of eight ways to show a frame: first swap its axes, then mirror it."""

    swap_axes: bool = False
    mirror_x: bool = False
    mirror_y: bool = False

    def apply(self, pixels: Pixels) -> Pixels:
        """Turn and mirror a frame of shape (height, width, 3). Returns a contiguous array."""
        if self.swap_axes:
            pixels = pixels.transpose(1, 0, 2)
        step_x, step_y = (-1 if mirrored else 1 for mirrored in (self.mirror_x, self.mirror_y))
        return np.ascontiguousarray(pixels[::step_y, ::step_x], dtype=np.uint8)


def orientation_of(matrix: Sequence[int]) -> Orientation:
    """The orientation nearest to a display matrix."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if a * d == b * c:  # the matrix maps the picture to a line, so it is damaged
        return Orientation()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def pixel_aspect_of(matrix: Sequence[int], pixel_aspect: Fraction | None) -> Fraction:
    """The aspect ratio of a stored pixel; `pixel_aspect` is the one that FFmpeg reports."""
    reported = pixel_aspect or Fraction(1)
    if not orientation_of(matrix).swap_axes:
        return reported
    # If the matrix stretches the frame, FFmpeg's MP4 demuxer reports the stretch as the aspect
    # ratio of a *shown* pixel. If the matrix also swaps the axes, this is the inverse of the aspect
    # ratio of a stored pixel.
    stretch = abs(matrix[3] / matrix[1])
    comes_from_matrix = not _same(stretch, 1.0) and _same(stretch, float(reported))
    return 1 / reported if comes_from_matrix else reported


def shown_size(width: int, height: int, pixel_aspect: Fraction, max_px: int) -> tuple[int, int]:
    """Width and height of a frame with square pixels, before its axes are swapped.

    One side is enlarged, so that no detail is lost. If the frame would have more than `max_px`
    pixels, both sides shrink.
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
