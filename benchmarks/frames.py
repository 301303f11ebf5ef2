"""Reads the frames of a clip with OpenCV, for scripts that do not measure the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from rollcall.core.types import Pixels


def rgb_frames(clip: Path, step: int = 1) -> Iterator[Pixels]:
    """Yield every `step`-th frame, starting with the first: RGB, shape (height, width, 3)."""
    video = cv2.VideoCapture(str(clip))
    for number in count():
        is_read, bgr = video.read()
        if not is_read:
            return
        if number % step == 0:
            yield np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)
