"""Whether a face on another look is still the same one, by its place and its pixels.

Encoding a face takes about as long as finding all faces of a frame. While a face hardly moves, a
few hundred numbers show that it is still the same one.

Measured on eight real clips and 60 photos, as correlation of two patches. Of 6,102 pairs of
different people the largest is 0.945, and one in a thousand is above 0.889. Looks at one face:

| apart | one in ten is below | half are below | followed |
| --- | --- | --- | --- |
| 0.1 s | 0.940 | 0.987 | 78 % |
| 0.2 s | 0.904 | 0.972 | 63 % |
| 0.5 s | 0.842 | 0.935 | 29 % |
| 1.0 s | 0.843 | 0.912 | 21 % |

The clips are lively; somebody who sits before a camera is followed for longer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rollcall.core.types import Box, Pixels

PATCH_PX = 12
"""Side of the patches that are compared."""

MIN_OVERLAP = 0.6
"""Intersection over union of two boxes. Somebody else may be near, but not at the same place."""

MIN_CORRELATION = 0.96

READ_PX = 8 * PATCH_PX
"""Larger boxes are sampled: only every nth pixel is read."""

Patch = NDArray[np.float32]


def patch_of(pixels: Pixels, box: Box) -> Patch:
    """The means of PATCH_PX x PATCH_PX parts of the box, in RGB, without their own mean and
    contrast; flat."""
    face = pixels[box.top : box.bottom, box.left : box.right]
    step = max(1, min(face.shape[:2]) // READ_PX)
    sampled = face[::step, ::step].astype(np.float32)
    patch = _means(_means(sampled).swapaxes(0, 1)).ravel()
    patch -= patch.mean()
    return patch / max(float(np.linalg.norm(patch)), 1.0)


def is_same(box: Box, patch: Patch, other_box: Box, other_patch: Patch) -> bool:
    return overlap(box, other_box) >= MIN_OVERLAP and float(patch @ other_patch) >= MIN_CORRELATION


def overlap(box: Box, other: Box) -> float:
    """Intersection over union."""
    height = min(box.bottom, other.bottom) - max(box.top, other.top)
    width = min(box.right, other.right) - max(box.left, other.left)
    if height <= 0 or width <= 0:
        return 0.0
    return height * width / (box.area_px + other.area_px - height * width)


def _means(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """PATCH_PX means along the first axis; fewer rows are repeated."""
    starts = np.arange(PATCH_PX) * len(rows) // PATCH_PX
    counts = np.maximum(np.diff(starts, append=len(rows)), 1).astype(np.float32)
    sums: NDArray[np.float32] = np.add.reduceat(rows, starts, dtype=np.float32)
    return sums / counts[:, None, None]
