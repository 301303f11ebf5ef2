"""Encoding spaces: which encodings can be compared, and how far apart they usually are.

The numbers of an encoding mean nothing without the model that made it (docs/decisions/0082).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

NAME_FORM = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Form of a space's name: up to 64 letters, digits, dots, dashes and underscores."""

MAX_SIZE = 4096
"""Largest size of an encoding. Face models have 128 to 1024 numbers."""


class Spread(NamedTuple):
    """Mean and standard deviation of measured distances."""

    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class EncodingSpace:
    """The encodings of one model, and their typical distances.

    Encodings of different spaces are never compared. All distances are Euclidean.
    """

    name: str
    """The name is stored with each gallery of this space."""

    size: int
    """Number of numbers in an encoding."""

    tolerance: float
    """Largest distance at which two faces are taken for the same person. A gallery may have a
    smaller tolerance of its own."""

    same_face_distance: float
    """Largest distance between two looks at the same face in one video."""

    clear_margin: float
    """Smallest margin of a clear look. (The margin is the distance to the second-nearest person
    minus the distance to the nearest.)"""

    min_margin: float
    """Smallest margin at which a face is named. Below it, a name would be a guess between two
    people."""

    strangers: Spread | None = None
    """Distances between a look at a person and an encoding of another person; None if unknown."""

    same_person: Spread | None = None
    """Distances between a look at a person and a photo of the same person from another day; None if
    unknown."""


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
"""The space of dlib's ResNet, which `face_recognition` uses, and of every pickled gallery.

The tolerance is the one that dlib's author recommends. `same_face_distance` lies between two
measurements on eight real clips, with looks half a second apart: two looks at one face are 0.08 to
0.44 apart, and different people at least 0.64. `rollcall.core.tolerance` and docs/decisions/0086
say where the two spreads come from.
"""
