"""A face engine without models that finds coloured patches, for tests and experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rollcall.core.encoding_space import DLIB
from rollcall.core.types import Box, DetectedFace, Encodings, Pixels


class PaintedFaces:
    """A `FaceEngine` for painted pictures, where a patch of one of six colours is a face.

    The colours are the corners of the RGB cube except black and white, so they can be told apart
    after lossy compression. A patch may consist of brighter and darker stripes of its colour, so
    that it has edges like a face. Each colour has a fixed encoding, and the distance between the
    encodings of two colours is about 1.4.
    """

    name = "painted"
    space = DLIB

    COLOURS: Mapping[str, tuple[int, int, int]] = {
        "red": (255, 0, 0),
        "green": (0, 255, 0),
        "blue": (0, 0, 255),
        "yellow": (255, 255, 0),
        "magenta": (255, 0, 255),
        "cyan": (0, 255, 255),
    }
    MIN_PATCH_PX = 64
    """Minimum number of pixels. Smaller patches are compression artefacts."""
    LANDMARKS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
    """Position of each landmark (x, y) in the box, as a fraction of its width and height."""

    @classmethod
    def encoding(cls, colour: str) -> Encodings:
        """Return the encoding of a patch of this colour, shape (128,)."""
        vector = np.zeros(cls.space.size)
        vector[list(cls.COLOURS).index(colour)] = 1.0
        return vector

    def detect(self, pixels: Pixels) -> tuple[DetectedFace, ...]:
        # Greys have nearly equal channels. Compression blurs edges into dull mixed colours, which
        # this excludes as well.
        vivid = np.ptp(pixels.astype(np.int16), axis=2) > 127
        bright = pixels > 127
        masks = [self._has_colour(colour, bright) & vivid for colour in self.COLOURS]
        faces = [self._face(mask) for mask in masks if mask.sum() >= self.MIN_PATCH_PX]
        return tuple(sorted(faces, key=lambda face: -face.box.area_px))

    def encode(self, pixels: Pixels, faces: Sequence[DetectedFace]) -> Encodings:
        return np.array([self.encoding(self._colour(pixels, face.box)) for face in faces])

    def _has_colour(self, colour: str, bright: NDArray[np.bool]) -> NDArray[np.bool]:
        same: NDArray[np.bool] = (bright == (np.array(self.COLOURS[colour]) > 127)).all(axis=2)
        return same

    def _face(self, mask: NDArray[np.bool]) -> DetectedFace:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = Box(int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1, int(columns[0]))
        corner, size = (box.left, box.top), (box.right - box.left, box.bottom - box.top)
        return DetectedFace(box, corner + self.LANDMARKS * size, 1.0)

    def _colour(self, pixels: Pixels, box: Box) -> str:
        """Return the colour that most pixels in the box have."""
        bright = pixels[box.top : box.bottom, box.left : box.right] > 127
        return max(self.COLOURS, key=lambda colour: self._has_colour(colour, bright).sum())
