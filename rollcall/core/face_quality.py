"""Measures how well a face can be judged: its size, its sharpness, and the turn of the head.

The limits of recognition come from photos of 134 faces of 60 people, which were made worse step by
step (docs/decisions/0085). "Right" gives two distances to the nearest other photo of the same
person: 50 and 97 of 100 looks are within these distances. "Wrong" is the percentage of looks that
have another person within 0.55.

| size | right | wrong | | blur (widths) | sharpness | right | wrong | | turn | right | wrong |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
| 96 px | 0.36, 0.50 | 2.5 % | | 0.005 | 0.150 | 0.37, 0.50 | 2.3 % | | 0.1 | 0.41, 0.57 | 3.1 % |
| 64 px | 0.37, 0.51 | 2.3 % | | 0.010 | 0.060 | 0.40, 0.51 | 1.6 % | | 0.2 | 0.41, 0.59 | 0 % |
| 48 px | 0.39, 0.50 | 3.0 % | | 0.015 | 0.020 | 0.43, 0.55 | 1.6 % | | 0.3 | 0.38, 0.57 | 1.6 % |
| 36 px | 0.42, 0.53 | 1.5 % | | 0.020 | 0.010 | 0.47, 0.58 | 3.1 % | | 0.4 | 0.49, 0.58 | 0 % |
| 32 px | 0.43, 0.55 | 2.3 % | | 0.025 | 0.004 | 0.50, 0.61 | 7.1 % | | 0.5 | - | 0 % |
| 28 px | 0.47, 0.60 | 2.2 % | | 0.030 | 0.002 | 0.55, 0.65 | 8.7 % | | 0.7 | - | 0 % |
| 20 px | 0.54, 0.63 | 3.8 % | | 0.040 | 0.001 | 0.60, 0.70 | 13.5 % | | | | |

- Size: below 32 pixels, more than 3 in 100 looks miss the right person at the tolerance of a usual
  gallery (0.55). With coarse JPEG compression, this happens below 64 pixels.
- Sharpness: at 0.004, wrong people are twice as frequent as at 0.010, and 3 in 100 looks at the
  right person are beyond 0.6. The limit lies between these rows.
- Turn: the column shows the largest turn of the looks in a row. The photos show few turned heads,
  and no wrong person was near to the most turned ones, so the limit is the largest turn in the
  photos.

The limits of enrolment are those of docs/decisions/0031 (`benchmarks/face_quality.py`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rollcall.core.types import MIN_JUDGED_PX, Box, FaceQuality, Landmarks, Pixels

Problem = Literal["", "too small", "blurred", "turned"]

# Units: pixels of the box's shorter side, `sharpness_of`, `turn_of`.
MIN_JUDGED_SHARPNESS = 0.008
MAX_JUDGED_TURN = 0.6
"""Limits of recognition, beside MIN_JUDGED_PX. A face beyond one of these limits is counted, but
never named."""

MIN_ENROLLED_PX = 50
MIN_ENROLLED_SHARPNESS = 0.03
MAX_ENROLLED_TURN = 0.35
"""Limits of enrolment. They are stricter than those of recognition, because a bad encoding in the
gallery affects every comparison, while another photo can be taken."""

SHARPNESS_PX = 64
"""Larger faces are shrunk to this side length before sharpness is measured, so that the results are
comparable."""

MAD_TO_DEVIATION = 1.4826
"""Factor from the median absolute deviation of normally distributed numbers to their standard
deviation: 1 divided by the 75 % quantile of the standard normal distribution."""

_LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))
"""Weights of red, green and blue in the grey value (ITU-R BT.601)."""


def measure(pixels: Pixels, box: Box, landmarks: Landmarks, score: float) -> FaceQuality:
    """Measure a face in an RGB picture of shape (height, width, 3).

    `score` is the detector's confidence, 0 to 1.
    """
    size_px = min(box.right - box.left, box.bottom - box.top)
    return FaceQuality(size_px, sharpness_of(pixels, box), abs(turn_of(landmarks)), score)


def why_not_judged(quality: FaceQuality) -> Problem:
    """The reason why a face is not named; empty if it may be named."""
    if quality.size_px < MIN_JUDGED_PX:
        return "too small"
    if quality.sharpness < MIN_JUDGED_SHARPNESS:
        return "blurred"
    if quality.turn > MAX_JUDGED_TURN:
        return "turned"
    return ""


def why_not_enrolled(quality: FaceQuality) -> str:
    """The reason why a face cannot be enrolled, as a sentence without a full stop, or empty."""
    if quality.size_px < MIN_ENROLLED_PX:
        return (
            f"the face is only {quality.size_px} pixels wide, and {MIN_ENROLLED_PX} are needed;"
            " use a larger photo, or one taken from closer"
        )
    if quality.sharpness < MIN_ENROLLED_SHARPNESS:
        return (
            f"the face is blurred (sharpness {quality.sharpness:.3f}, at least"
            f" {MIN_ENROLLED_SHARPNESS:g} is needed); use a sharper photo"
        )
    if quality.turn > MAX_ENROLLED_TURN:
        return (
            f"the head is turned away (turn {quality.turn:.2f}, at most {MAX_ENROLLED_TURN:g} is"
            " allowed); use a photo in which the person looks into the camera"
        )
    return ""


def sharpness_of(pixels: Pixels, box: Box) -> float:
    """The variance of the Laplacian without noise, divided by the variance of the grey values.

    Blur makes this number smaller. The division makes it independent of the photo's contrast. The
    sharpness of a face less than 3 pixels high or wide is 0.
    """
    face = pixels[max(box.top, 0) : box.bottom, max(box.left, 0) : box.right]
    if min(face.shape[:2], default=0) < 3:
        return 0.0
    grey = _grey(_sampled(_sampled(face).swapaxes(0, 1)))
    grey = _halved(_halved(grey).T)
    centre = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    edges = around - 4 * centre
    # If the noise were not subtracted, a noisy photo would seem sharp, however blurred it is. Noise
    # is everywhere, while edges are few and strong, so the median deviation measures only noise.
    noise = (float(np.median(np.abs(edges - np.median(edges)))) * MAD_TO_DEVIATION) ** 2
    return max(0.0, float(np.var(edges)) - noise) / max(float(np.var(grey)), 1.0)


def turn_of(landmarks: Landmarks) -> float:
    """The sideways distance of the tip of the nose from the middle between the eyes.

    The unit is the distance between the eyes, and the sign is the direction. Tilting the head to
    the side does not change the number.
    """
    left, right, nose = landmarks[0], landmarks[1], landmarks[2]
    between_eyes = right - left
    squared_length = float(between_eyes @ between_eyes)
    if not squared_length:
        return 0.0
    return float((nose - (left + right) / 2) @ between_eyes) / squared_length


def _sampled(face: Pixels) -> Pixels:
    """Two evenly spaced rows for each of the SHARPNESS_PX rows that the face is shrunk to.

    No other rows are read, so the cost does not depend on the size of the face.
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
    """The mean of each pair of rows that `_sampled` chose."""
    if len(grey) <= SHARPNESS_PX:
        return grey
    return (grey[::2] + grey[1::2]) * np.float32(0.5)
