"""dlib's tiled image pyramid: a picture and its smaller copies, side by side in one.

A network then sees every size in one run, and neighbours on this sheet see each other. So a result
that equals dlib's needs the same places. All of it is pure geometry, but for `draw`.
Source: dlib/image_transforms/image_pyramid.h and input_rgb_image_pyramid in dlib/dnn/input.h.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rollcall.core.types import Pixels

RATE = 5 / 6
"""Each copy's size, as a part of the one before it (pyramid_down<6>)."""

UP_RATE = 6 / 5
"""Not written as a division by RATE: a last bit decides which way dlib rounds a half."""

BETWEEN_PX = 10
AROUND_PX = 11
"""Empty space between the tiles and around them, dlib's defaults: the detector's file is older than
the setting."""

MIN_HEIGHT_PX = 5
"""A copy below it is left out."""

SHIFT_PX = 0.3
"""What dlib adds to a coordinate for each step towards the full size."""

MEAN_RGB = np.array([122.782, 117.001, 104.298], dtype=np.float32)
SCALE = np.float32(1 / 256)

Planes = NDArray[np.float32]
Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom."""


class Tile(NamedTuple):
    """Where a copy lies on the sheet, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        return plane[self.top : self.top + self.height, self.left : self.left + self.width]

    def distance_px(self, x: float, y: float) -> float:
        dx = max(self.left - x, 0, x - (self.left + self.width - 1))
        dy = max(self.top - y, 0, y - (self.top + self.height - 1))
        return math.hypot(dx, dy)


class TiledPyramid(NamedTuple):
    """The sheet for pictures of one size; the first tile is the picture itself."""

    tiles: tuple[Tile, ...]
    width: int
    height: int

    def draw(self, pixels: Pixels) -> Planes:
        """The sheet's colours, (rgb - mean) / 256, shape (1, 3, height, width); 0 where empty."""
        sheet = np.zeros((1, 3, self.height, self.width), dtype=np.float32)
        for channel, plane in enumerate(sheet[0]):
            full = self.tiles[0].cut(plane)
            np.subtract(pixels[:, :, channel], MEAN_RGB[channel], out=full)
            np.multiply(full, SCALE, out=full)
            for larger, smaller in pairwise(self.tiles):
                _shrink(larger.cut(plane), smaller.cut(plane))
        return sheet

    def to_picture(self, rectangle: Rectangle) -> Rectangle:
        """A rectangle on the sheet, in the picture: it belongs to the tile nearest its centre."""
        left, top, right, bottom = rectangle
        x, y = nearest_integer((left + right) / 2), nearest_integer((top + bottom) / 2)
        # `min` and `index` both take the first of equals, as dlib does.
        distances = [tile.distance_px(x, y) for tile in self.tiles]
        level = distances.index(min(distances))
        tile = self.tiles[level]
        left, top = _upwards(left - tile.left, level), _upwards(top - tile.top, level)
        right, bottom = _upwards(right - tile.left, level), _upwards(bottom - tile.top, level)
        return left, top, right, bottom


def _upwards(coordinate: float, level: int) -> float:
    for _ in range(level):
        coordinate = coordinate * UP_RATE + SHIFT_PX
    return coordinate


def nearest_integer(value: float) -> int:
    """A half goes up, as in dlib's rectangles; Python's `round` goes to the even neighbour."""
    return math.floor(value + 0.5)


def tiled_pyramid(width: int, height: int) -> TiledPyramid:
    """The first copies stand below each other. Once half of what is left would fit beside them, the
    rest goes back up along the right edge, as far as the picture itself allows."""
    sizes = list(_sizes(width, height))
    count = _first_column(sizes)
    tiles, bottom = [], AROUND_PX
    for w, h in sizes[:count]:
        tiles.append(Tile(AROUND_PX, bottom, w, h))
        bottom += h + BETWEEN_PX
    bottom -= BETWEEN_PX
    sheet_height = bottom + AROUND_PX
    for w, h in sizes[count:]:
        if bottom - h < AROUND_PX + height:
            break
        tiles.append(Tile(AROUND_PX + width - w, bottom - h, w, h))
        bottom -= h + BETWEEN_PX
    return TiledPyramid(tuple(tiles), width + 2 * AROUND_PX, sheet_height)


def _sizes(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Width and height of the picture and its copies."""
    yield width, height
    width, height = math.floor(RATE * width), math.floor(RATE * height)
    while width and height >= MIN_HEIGHT_PX:
        yield width, height
        width, height = math.floor(RATE * width), math.floor(RATE * height)


def _first_column(sizes: list[tuple[int, int]]) -> int:
    """How many copies stand below each other."""
    full_width, full_height = sizes[0]
    total = sum(height + BETWEEN_PX for _, height in sizes) - 2 * BETWEEN_PX
    used, width_before = 0, 0
    for index, (width, height) in enumerate(sizes):
        fits = width <= full_width - width_before - BETWEEN_PX
        if fits and 2 * (used - full_height) >= total - full_height:
            return index
        used, width_before = used + height + BETWEEN_PX, width
    return len(sizes)


def _shrink(larger: NDArray[np.float32], smaller: NDArray[np.float32]) -> None:
    """Bilinear, corner on corner (dlib's resize_bilinear). cv2.resize lays edge on edge."""
    (rows, columns), (new_rows, new_columns) = larger.shape, smaller.shape
    x_scale = (columns - 1) / max(new_columns - 1, 1)
    y_scale = (rows - 1) / max(new_rows - 1, 1)
    cv2.warpAffine(
        larger,
        np.array([[x_scale, 0, 0], [0, y_scale, 0]]),
        (new_columns, new_rows),
        dst=smaller,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
