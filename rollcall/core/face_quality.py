"""How well a face can be judged: its size, its sharpness, and how far the head is turned.

The limits come from `benchmarks/face_quality.py`, which makes 27 good faces worse step by step. The
columns "moved" are the median distance from the encoding of the untouched face.

| width | moved | | blur (widths) | moved | sharpness | | turned by | moved | turn |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| 96 px | 0.08 | | none | 0.04 | 0.243 | | 0 | 0.04 | 0.06 |
| 64 px | 0.12 | | 0.005 | 0.07 | 0.178 | | 10 degrees | 0.16 | 0.11 |
| 50 px | 0.17 | | 0.010 | 0.18 | 0.072 | | 20 degrees | 0.26 | 0.19 |
| 40 px | 0.22 | | 0.015 | 0.27 | 0.028 | | 30 degrees | 0.36 | 0.24 |
| 32 px | 0.29 | | 0.020 | 0.34 | 0.013 | | 40 degrees | 0.48 | 0.28 |
| 24 px | 0.39 | | 0.030 | 0.47 | 0.003 | | 50 degrees | 0.57 | 0.29 |

A photo of another day adds 0.3 to 0.5, and the tolerance is 0.6. The decision page 0031 says how
the limits follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rollcall.core.types import Box, Face, Landmarks, Pixels

MIN_FACE_PX = 50
MIN_SHARPNESS = 0.03
MAX_TURN = 0.35

SHARPNESS_PX = 64
"""Faces are shrunk to this side first, so that sharpness says the same of large and small ones."""

MAD_TO_DEVIATION = 1.4826
"""From the median absolute deviation of normally distributed values to their standard deviation."""

_LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """Measures of one face, independent of who it is."""

    size_px: int
    """Shorter side of the face's box, in pixels of the picture it was found in."""

    sharpness: float
    """Energy of the edges over that of the grey values; blur makes it smaller."""

    turn: float | None
    """Sideways distance of the nose from the middle of the eyes, in distances between the eyes:
    0 for a face that looks into the camera. None where the engine gives no landmarks."""

    def problem(self) -> str:
        """Why the face cannot be judged reliably, as a sentence without a full stop; else empty."""
        if self.size_px < MIN_FACE_PX:
            return (
                f"the face is only {self.size_px} pixels wide, and {MIN_FACE_PX} are needed;"
                " use a larger or closer photo"
            )
        if self.sharpness < MIN_SHARPNESS:
            return (
                f"the face is blurred (sharpness {self.sharpness:.3f}, at least {MIN_SHARPNESS:g}"
                " is needed); use a sharper photo"
            )
        if self.turn is not None and self.turn > MAX_TURN:
            return (
                f"the head is turned away (turn {self.turn:.2f}, at most {MAX_TURN:g} is"
                " possible); use a photo that looks into the camera"
            )
        return ""


def measure(pixels: Pixels, face: Face) -> FaceQuality:
    """The quality of a face in an RGB picture, shape (height, width, 3)."""
    box = face.box
    size_px = min(box.right - box.left, box.bottom - box.top)
    turn = None if face.landmarks is None else abs(turn_of(face.landmarks))
    return FaceQuality(size_px, sharpness_of(pixels, box), turn)


def sharpness_of(pixels: Pixels, box: Box) -> float:
    """Variance of the Laplacian without the noise, over the variance of the grey values.

    Contrast cancels out. Noise is the same everywhere, whereas edges are few and strong: so the
    median of the absolute values shows the noise alone. Without that step, a noisy photo would
    look sharp however blurred it is.
    """
    grey = pixels[box.top : box.bottom, box.left : box.right] @ _LUMA
    if min(grey.shape, default=0) < 3:
        return 0.0
    grey = _shrunk(_shrunk(grey).T).T
    centre = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    edges = around - 4 * centre
    noise = (float(np.median(np.abs(edges - np.median(edges)))) * MAD_TO_DEVIATION) ** 2
    return max(0.0, float(np.var(edges)) - noise) / max(float(np.var(grey)), 1.0)


def turn_of(landmarks: Landmarks) -> float:
    """From dlib's five landmarks: two of each eye, then the base of the nose.

    Negative and positive values are the two sides. Tilting the head does not change it.
    """
    first, second, nose = landmarks[:2].mean(axis=0), landmarks[2:4].mean(axis=0), landmarks[4]
    across = second - first
    length = float(across @ across)
    return float((nose - (first + second) / 2) @ across) / length if length else 0.0


def _shrunk(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over SHARPNESS_PX strips of rows; strips may share a row. Never enlarges."""
    count = len(grey)
    if count <= SHARPNESS_PX:
        return grey
    edges = np.linspace(0, count, SHARPNESS_PX + 1)
    rows = np.arange(count)
    ends = np.minimum(edges[1:, None], rows + 1)
    parts = np.clip(ends - np.maximum(edges[:-1, None], rows), 0, None)
    shrunk: NDArray[np.float64] = parts @ grey * (SHARPNESS_PX / count)
    return shrunk
