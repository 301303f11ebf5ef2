"""Photos for enrolment, by OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from rollcall.core.errors import PhotoError
from rollcall.core.types import Pixels

MAX_PHOTO_BYTES = 64 << 20
LONGEST_SIDE_PX = 1600
"""Larger photos are made smaller: the detector's work grows with the area, faces stay large."""


def read_photo(path: Path) -> Pixels:
    """RGB, shape (height, width, 3), upright by its EXIF tag. Raises PhotoError."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_PHOTO_BYTES:
            raise PhotoError(f"{str(path)!r} has more than {MAX_PHOTO_BYTES} bytes")
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except OSError as error:
        raise PhotoError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error as error:
        raise PhotoError(f"{str(path)!r} cannot be decoded: {error.err}") from error
    if bgr is None:
        raise PhotoError(f"{str(path)!r} is not a picture (JPEG, PNG, ...)")
    scale = LONGEST_SIDE_PX / max(bgr.shape[:2])
    if scale < 1:
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
