"""Frames of a clip, as OpenCV decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from rollcall.core.types import Pixels


def rgb_frames(clip: Path, step: int = 1) -> Iterator[Pixels]:
    """One in `step`, the first one first; RGB, shape (height, width, 3)."""
    video = cv2.VideoCapture(str(clip))
    for number in count():
        there, bgr = video.read()
        if not there:
            return
        if number % step == 0:
            yield np.ascontiguousarray(bgr[..., ::-1], dtype=np.uint8)
