"""How well a face can be judged: its size, its sharpness, and how far the head is turned.

The limits of recognition come from looks at 134 faces of 60 people, made worse step by step
(decision page 0085). "Right" is the distance to the nearest other photo of the same person
that 50 and 97 in 100 looks keep; "wrong" is the part of looks with somebody else within 0.55.

| size | right | wrong | | blur (widths) | sharpness | right | wrong | | turn | right | wrong |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| 96 px | 0.36, 0.50 | 2.5 % | | 0.005 | 0.150 | 0.37, 0.50 | 2.3 % | | 0.1 | 0.41, 0.57 | 3.1 % |
| 64 px | 0.37, 0.51 | 2.3 % | | 0.010 | 0.060 | 0.40, 0.51 | 1.6 % | | 0.2 | 0.41, 0.59 | 0 % |
| 48 px | 0.39, 0.50 | 3.0 % | | 0.015 | 0.020 | 0.43, 0.55 | 1.6 % | | 0.3 | 0.38, 0.57 | 1.6 % |
| 36 px | 0.42, 0.53 | 1.5 % | | 0.020 | 0.010 | 0.47, 0.58 | 3.1 % | | 0.4 | 0.49, 0.58 | 0 % |
| 32 px | 0.43, 0.55 | 2.3 % | | 0.025 | 0.004 | 0.50, 0.61 | 7.1 % | | 0.5 | - | 0 % |
| 28 px | 0.47, 0.60 | 2.2 % | | 0.030 | 0.002 | 0.55, 0.65 | 8.7 % | | 0.7 | - | 0 % |
| 20 px | 0.54, 0.63 | 3.8 % | | 0.040 | 0.001 | 0.60, 0.70 | 13.5 % | | | | |

Below 32 pixels, more than 3 in 100 people are missed at the tolerance of a usual gallery (0.55);
coarse JPEG compression makes that 64 pixels. At a sharpness of 0.004, wrong people are twice as
frequent as at 0.010, and 3 in 100 looks at the right person are beyond 0.6: the limit lies between
these rows. The photos at hand show few turned heads (the column is the largest turn of the row):
nobody was wrong there, so the limit is where the photos end. See decision page 0085.

The limits of enrolment are those of the decision page 0031 (`benchmarks/face_quality.py`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rollcall.core.types import Box, FaceQuality, Landmarks, Pixels

Problem = Literal["", "too small", "blurred", "turned"]

MIN_JUDGED_PX = 32
MIN_JUDGED_SHARPNESS = 0.008
MAX_JUDGED_TURN = 0.6
"""Limits of recognition: a face beyond one of them is counted, never named."""

MIN_ENROLLED_PX = 50
MIN_ENROLLED_SHARPNESS = 0.03
MAX_ENROLLED_TURN = 0.35
"""Limits of enrolment. They are stricter, because a bad encoding in the gallery spoils every
comparison, and another photo can be taken."""

SHARPNESS_PX = 64
"""Faces are shrunk to this side first, so that sharpness means the same at every size."""

MAD_TO_DEVIATION = 1.4826
"""From the median absolute deviation of normally distributed values to their standard deviation."""

_LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def measure(pixels: Pixels, box: Box, landmarks: Landmarks, score: float) -> FaceQuality:
    """The quality of a face in an RGB picture, shape (height, width, 3)."""
    size_px = min(box.right - box.left, box.bottom - box.top)
    return FaceQuality(size_px, sharpness_of(pixels, box), abs(turn_of(landmarks)), score)


def why_not_judged(quality: FaceQuality) -> Problem:
    """Why a face must not be named; empty for a face that can be."""
    if quality.size_px < MIN_JUDGED_PX:
        return "too small"
    if quality.sharpness < MIN_JUDGED_SHARPNESS:
        return "blurred"
    if quality.turn > MAX_JUDGED_TURN:
        return "turned"
    return ""


def why_not_enrolled(quality: FaceQuality) -> str:
    """Why a face is not good enough for a gallery, as a sentence without full stop; else empty."""
    if quality.size_px < MIN_ENROLLED_PX:
        return (
            f"the face is only {quality.size_px} pixels wide, and {MIN_ENROLLED_PX} are needed;"
            " use a larger or closer photo"
        )
    if quality.sharpness < MIN_ENROLLED_SHARPNESS:
        return (
            f"the face is blurred (sharpness {quality.sharpness:.3f}, at least"
            f" {MIN_ENROLLED_SHARPNESS:g} is needed); use a sharper photo"
        )
    if quality.turn > MAX_ENROLLED_TURN:
        return (
            f"the head is turned away (turn {quality.turn:.2f}, at most {MAX_ENROLLED_TURN:g} is"
            " possible); use a photo that looks into the camera"
        )
    return ""


def sharpness_of(pixels: Pixels, box: Box) -> float:
    """Variance of the Laplacian without the noise, over the variance of the grey values.

    Contrast cancels out. Noise is the same everywhere, whereas edges are few and strong: so the
    median of the absolute values shows the noise alone. Without that step, a noisy photo would
    look sharp however blurred it is.
    """
    face = pixels[max(box.top, 0) : box.bottom, max(box.left, 0) : box.right]
    if min(face.shape[:2], default=0) < 3:
        return 0.0
    grey = _grey(_sampled(_sampled(face).swapaxes(0, 1)))
    grey = _halved(_halved(grey).T)
    centre = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    edges = around - 4 * centre
    noise = (float(np.median(np.abs(edges - np.median(edges)))) * MAD_TO_DEVIATION) ** 2
    return max(0.0, float(np.var(edges)) - noise) / max(float(np.var(grey)), 1.0)


def turn_of(landmarks: Landmarks) -> float:
    """Sideways distance of the nose's tip from the middle of the eyes, in distances between the
    eyes.

    Negative and positive values are the two sides. Tilting the head does not change it.
    """
    left, right, nose = landmarks[0], landmarks[1], landmarks[2]
    across = right - left
    length = float(across @ across)
    return float((nose - (left + right) / 2) @ across) / length if length else 0.0


def _sampled(face: Pixels) -> Pixels:
    """Two evenly spaced rows for each of the SHARPNESS_PX that the face is shrunk to.

    Reading so few makes the cost independent of the face's size.
    """
    count = len(face)
    if count <= SHARPNESS_PX:
        return face
    return face[(np.arange(1, 4 * SHARPNESS_PX, 2) * count) // (4 * SHARPNESS_PX)]


def _grey(pixels: Pixels) -> NDArray[np.float32]:
    red, green, blue = (pixels[:, :, channel] * weight for channel, weight in enumerate(_LUMA))
    grey: NDArray[np.float32] = red + green + blue
    return grey


def _halved(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of neighbouring rows, where `_sampled` has taken two for one."""
    if len(grey) <= SHARPNESS_PX:
        return grey
    return (grey[::2] + grey[1::2]) * np.float32(0.5)
