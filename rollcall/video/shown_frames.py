"""Turns decoded frames into the pictures that a player shows: RGB, square pixels, upright.

Phones store portrait videos on their side, with a display matrix that says how to turn them.
Broadcasts and DVDs store oblong pixels. FFmpeg's decoders correct neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type as SideDataType
from av.video.stream import VideoStream

from rollcall.core.display import MATRIX_SIZE, orientation_of, pixel_aspect_of, shown_size
from rollcall.core.errors import NotAVideo
from rollcall.core.types import Pixels
from rollcall.video.opening import HAS_KEY_INDEX

INTERPOLATION = "BICUBIC"
"""The filter for enlarging frames with oblong pixels. With bicubic interpolation, the mean distance
to the right person is 0.435 over eight clips at 704x288 and 1440x1080. With bilinear interpolation
it is 0.441, and one face stays unknown."""

HEADER_HAS_ASPECT = HAS_KEY_INDEX
"""Demuxers of containers whose pixel aspect ratio takes precedence over the codec's. In other
containers the codec's takes precedence, because it may change in the middle of a broadcast."""

ONE = 1 << 16
"""1.0 in the upper rows of a display matrix: 16.16 fixed point (ISO/IEC 14496-12, tkhd)."""


class Screen:
    """Converts the frames of one track to pictures."""

    def __init__(self, stream: VideoStream, demuxer: str, max_px: int) -> None:
        self._stream = stream
        self._header_has_aspect = demuxer in HEADER_HAS_ASPECT
        self._max_px = max_px
        self._rotation: int | None = None
        self._matrix = [0] * MATRIX_SIZE

    def show(self, frame: av.VideoFrame) -> Pixels:
        """Return the picture. If its pixels are oblong, it is enlarged to at most `max_px` pixels.

        Raises NotAVideo for a pixel format that cannot be converted.
        """
        matrix = self._matrix_of(frame)
        aspect = pixel_aspect_of(matrix, self._pixel_aspect())
        width, height = shown_size(frame.width, frame.height, aspect, self._max_px)
        stretched = (width, height) != (frame.width, frame.height)
        try:
            pixels = frame.to_ndarray(
                format="rgb24",
                width=width,
                height=height,
                interpolation=INTERPOLATION if stretched else None,
                threads=1,
            )
        except (av.FFmpegError, ValueError) as error:
            raise NotAVideo(
                f"the video's pixel format {frame.format.name} cannot be converted to RGB; convert"
                " the video to H.264 and upload it again"
            ) from error
        return orientation_of(matrix).apply(np.asarray(pixels, np.uint8))

    def _matrix_of(self, frame: av.VideoFrame) -> list[int]:
        """Return the container's display matrix, or the one that the codec carries."""
        # The matrix is read again only if the angle changes: reading a frame's side data creates a
        # reference cycle, which keeps the frame alive until Python's garbage collector runs.
        rotation = frame.rotation
        if rotation != self._rotation:
            self._rotation = rotation
            self._matrix = _display_matrix(frame)
        return self._matrix

    def _pixel_aspect(self) -> Fraction | None:
        stream = self._stream
        container, codec = stream.sample_aspect_ratio, stream.codec_context.sample_aspect_ratio
        return container or codec if self._header_has_aspect else codec or container


def _display_matrix(frame: av.VideoFrame) -> list[int]:
    """Return the matrix row by row; all zeros if the frame has none."""
    try:
        found = cast("Mapping[SideDataType, Buffer]", frame.side_data)
    except ValueError:
        # The frame also has side data of a kind that PyAV does not know. The angle can still be
        # read, which is enough for frames that are not mirrored.
        radians = math.radians(frame.rotation)
        a, b = round(math.cos(radians) * ONE), round(-math.sin(radians) * ONE)
        return [a, b, 0, -b, a, 0, 0, 0, ONE]
    matrix = found.get(SideDataType.DISPLAYMATRIX)
    if matrix is None:
        return [0] * MATRIX_SIZE
    return [int(each) for each in np.frombuffer(bytes(matrix), np.int32, MATRIX_SIZE)]
