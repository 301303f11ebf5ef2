"""Which look shows a face best, and which part of the frame a small picture of it shows."""

from __future__ import annotations

from rollcall.core.face_quality import MIN_ENROLLED_SHARPNESS
from rollcall.core.types import Box, FaceQuality

PICTURE_PX = 96
"""Largest side length of the small pictures. Pages show them at 48 and 96 pixels."""

SURROUNDINGS = 1.6
"""Side of the shown square, as a multiple of the box's longer side. A detector's box ends at the
forehead and the chin, and people recognise a face more easily with hair and neck."""


def worth(quality: FaceQuality) -> float:
    """How well a look shows a face, 0 to 1: large enough, sharp, and turned to the camera."""
    size = min(quality.size_px / PICTURE_PX, 1.0)
    sharpness = min(quality.sharpness / MIN_ENROLLED_SHARPNESS, 1.0)
    return size * sharpness * max(1.0 - quality.turn, 0.0)


def shown_square(box: Box, width: int, height: int) -> Box:
    """The square around a face, moved into a frame of this size, or made smaller to fit into it."""
    longer = max(box.right - box.left, box.bottom - box.top)
    side = max(1, min(round(longer * SURROUNDINGS), width, height))
    left = min(max((box.left + box.right - side) // 2, 0), width - side)
    top = min(max((box.top + box.bottom - side) // 2, 0), height - side)
    return Box(top, left + side, top + side, left)
