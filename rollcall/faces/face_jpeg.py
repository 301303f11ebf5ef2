"""Makes the small pictures of faces that KEEP_FACES=pictures stores."""

from __future__ import annotations

import cv2
import numpy as np

from rollcall.core.face_worth import PICTURE_PX, shown_square
from rollcall.core.types import Box, Pixels

JPEG_QUALITY = 85

READ_PX = 2 * PICTURE_PX
"""Only every n-th pixel of a larger face is read, so a large face takes hardly longer."""


def face_jpeg(pixels: Pixels, box: Box) -> bytes:
    """The face with some surroundings as a JPEG of at most PICTURE_PX x PICTURE_PX pixels.

    `pixels` is an RGB picture. A face in it that is smaller is not enlarged.
    """
    height, width = pixels.shape[:2]
    square = shown_square(box, width, height)
    cut = pixels[square.top : square.bottom, square.left : square.right]
    step = max(1, len(cut) // READ_PX)
    cut = np.ascontiguousarray(cut[::step, ::step])
    bgr = cv2.cvtColor(cut, cv2.COLOR_RGB2BGR)
    if len(bgr) > PICTURE_PX:
        bgr = cv2.resize(bgr, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return encoded.tobytes()
