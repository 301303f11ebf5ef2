"""Turns a photo so that the faces in it are upright (docs/decisions/0183)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rollcall.core.protocols import FaceEngine
from rollcall.core.types import DetectedFace, Pixels


class UprightPhoto(NamedTuple):
    """A photo in one of four positions, and the faces that the detector finds in it."""

    pixels: Pixels
    quarter_turns: int
    """How often the photo was turned by 90 degrees counter-clockwise."""
    faces: tuple[DetectedFace, ...]


def turn_upright(pixels: Pixels, engine: FaceEngine) -> UprightPhoto:
    """Turn a photo that may be sideways or upside down.

    The detector also finds faces that lie on their side or upside down, and sometimes puts the eyes
    of such a face above its mouth, as if it were upright. It is less certain about them. So all
    four positions are tried, and the one with the most certain upright face is taken; without an
    upright face, the one with the most certain face.
    """
    positions = [_turned(pixels, engine, quarter_turns) for quarter_turns in range(4)]
    return max(positions, key=_certainty)


def is_upright(face: DetectedFace) -> bool:
    """Whether the mouth is further below the eyes than it is to their side."""
    eyes, mouth = face.landmarks[:2].mean(axis=0), face.landmarks[3:].mean(axis=0)
    sideways, downwards = mouth - eyes
    return bool(downwards > abs(sideways))


def _turned(pixels: Pixels, engine: FaceEngine, quarter_turns: int) -> UprightPhoto:
    turned = np.ascontiguousarray(np.rot90(pixels, quarter_turns))
    return UprightPhoto(turned, quarter_turns, engine.detect(turned))


def _certainty(photo: UprightPhoto) -> tuple[bool, float]:
    """Sort key. The detector's score is its confidence, 0 to 1."""
    return max(((is_upright(face), face.score) for face in photo.faces), default=(False, 0.0))
