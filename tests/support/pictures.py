"""Real pictures from installed packages, and the first frames of the real clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from rollcall.core.types import Pixels


def astronaut() -> Pixels:
    """Return a picture of 512 x 512 px with one face, about 95 px wide."""
    return np.asarray(data.astronaut(), dtype=np.uint8)


def cat() -> Pixels:
    """Return a picture of 451 x 300 px without a person."""
    return np.asarray(data.chelsea(), dtype=np.uint8)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def turned(pixels: Pixels, degrees: float) -> Pixels:
    height, width = pixels.shape[:2]
    around = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(pixels, around, (width, height)), dtype=np.uint8)


def first_frames(videos: Path) -> Iterator[Pixels]:
    """Yield the first frame of each clip in RGB and full size, in the order of the file names."""
    for path in sorted(videos.glob("*.mp4")):
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        is_read, frame = capture.read()
        capture.release()
        assert is_read, path
        yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8)
