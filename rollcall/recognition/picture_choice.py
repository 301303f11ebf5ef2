"""Chooses the looks that show a face best, for pictures and for the face search."""

from __future__ import annotations

from rollcall.core.face_quality import MIN_ENROLLED_SHARPNESS
from rollcall.core.types import FaceQuality

PICTURE_PX = 96
"""Side length of the pictures. A face that is larger gives no better picture."""


def worth(quality: FaceQuality) -> float:
    """How well a look shows a face, 0 to 1: large enough, sharp, and turned to the camera."""
    size = min(quality.size_px / PICTURE_PX, 1.0)
    sharpness = min(quality.sharpness / MIN_ENROLLED_SHARPNESS, 1.0)
    return size * sharpness * max(1.0 - quality.turn, 0.0)
