"""Encoding spaces. The numbers of an encoding mean nothing without the model that made it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names of spaces have letters, digits, dots, dashes and underscores."""

MAX_SIZE = 4096
"""Numbers in an encoding; face models have 128 to 1024."""


class Spread(NamedTuple):
    """Distances as they were measured."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class EncodingSpace:
    """The encodings of one model, which are never compared with those of another.

    Distances are Euclidean.
    """

    name: str
    """A gallery carries it."""

    size: int
    """How many numbers an encoding has."""

    tolerance: float
    """The largest distance at which two faces are ever taken for one person."""

    same_face_distance: float
    """Largest distance of two looks at one face within a video."""

    clear_margin: float
    """An identity that is this much nearer than the next one needs no second look."""

    min_margin: float
    """Below this margin two identities are equally near, and naming one would be a guess."""

    strangers: Spread | None = None
    """Distances of a look at a stranger to one encoding of somebody."""

    same_person: Spread | None = None
    """Distances of a look at a person to one photo of another day."""


DLIB = EncodingSpace(
    name="dlib-resnet-1",
    size=128,
    tolerance=0.6,
    same_face_distance=0.45,
    clear_margin=0.1,
    min_margin=0.02,
    strangers=Spread(0.85, 0.095),
    same_person=Spread(0.45, 0.075),
)
"""The network of `face_recognition`, and of every pickled gallery.

Its author gives the tolerance. Measured on eight real clips, half a second apart, looks at one face
are 0.08 to 0.44 apart, and different people never below 0.64. `rollcall.core.tolerance` says where
the distances of strangers and of one person come from.
"""
