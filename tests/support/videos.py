"""Makes small videos with painted faces, which the test engine `PaintedFaces` recognises."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rollcall.core.gallery import Gallery
from rollcall.faces.painted_faces import PaintedFaces

FPS = 10


def paint_frame(colours: Sequence[str], width: int = 160, height: int = 96) -> np.ndarray:
    """Return a grey BGR picture with a square of each colour, from left to right."""
    frame = np.full((height, width, 3), 90, dtype=np.uint8)
    for index, colour in enumerate(colours):
        left = 8 + index * 48
        face = frame[16:56, left : left + 40]
        face[:] = PaintedFaces.COLOURS[colour][::-1]
        face[::8] = face[::8] // 4 * 3  # edges, so that it counts as sharp
        face[1::8] = face[1::8] // 4 * 3
    return frame


def paint_video(
    path: Path, *scenes: Sequence[str], frames_each: int = 10, width: int = 160, height: int = 96
) -> Path:
    """Make a clip of one scene after the other, each with a row of painted faces."""
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height)
    )
    for scene in scenes:
        for _ in range(frames_each):
            writer.write(paint_frame(scene, width, height))
    writer.release()
    return path


def painted_gallery(**people: str) -> Gallery:
    """Return a gallery of painted faces: in `painted_gallery(alice="red")`, Alice's face is red."""
    encodings = [PaintedFaces.encoding(colour) for colour in people.values()]
    return Gallery(list(people), np.array(encodings).reshape(-1, 128))
