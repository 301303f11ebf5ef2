"""Verdicts: what somebody said about a face, so that the gallery decides better next time.

Verdicts are stored in the gallery with the encodings of the faces that they are about. So they hold
for every later video, and they survive when the index is rebuilt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rollcall.core.types import Encodings, FaceQuality

VerdictKind = Literal["is", "not", "same", "ignore"]
VERDICT_KINDS: tuple[VerdictKind, ...] = ("is", "not", "same", "ignore")


@dataclass(frozen=True, slots=True)
class FaceSource:
    """Where an encoding came from: a photo, or a face of a video."""

    photo: str = ""
    """Name of the photo's file, without its folder; empty for a face of a video."""
    bucket: str = ""
    key: str = ""
    etag: str = ""
    time_s: float = 0.0
    """Time of the frame in the video, in seconds."""


@dataclass(frozen=True, slots=True)
class Example:
    """The facts about one encoding of the gallery."""

    id: str
    """Random hexadecimal digits, unique in the gallery. Empty for encodings of older galleries."""
    source: FaceSource = FaceSource()
    added_s: float = 0.0
    added_by: str = ""
    quality: FaceQuality | None = None
    verdict: str = ""
    """Id of the verdict that added the encoding; empty for an enrolled photo."""


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """One verdict, with the encodings of the faces that it is about.

    - *is*: these faces show the person `name`.
    - *not*: these faces do not show the person `name`.
    - *same*: these faces, which have no name, show one person.
    - *ignore*: nobody needs to know who this is; faces like these are left out of results.
    """

    id: str
    kind: VerdictKind
    name: str
    """Empty for `same` and `ignore`."""
    encodings: Encodings
    """Shape (n, size), with n of at least 1."""
    sources: tuple[FaceSource, ...]
    """One for each encoding."""
    who: str = ""
    at_s: float = 0.0
