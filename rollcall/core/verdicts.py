"""Verdicts: what somebody said about a face, so that the gallery decides better next time.

Verdicts are stored in the gallery with the encodings of the faces that they are about. So they hold
for every later video, and they survive when the index is rebuilt.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rollcall.core.errors import GalleryError

if TYPE_CHECKING:
    from rollcall.core.types import Encodings, FaceQuality

VerdictKind = Literal["is", "not", "same", "ignore"]
VERDICT_KINDS: tuple[VerdictKind, ...] = ("is", "not", "same", "ignore")
NAMING_KINDS: tuple[VerdictKind, ...] = ("is", "not")
"""The kinds that are about a person with a name."""

ID_FORM = re.compile(r"[0-9A-Za-z_-]{1,64}")
"""Ids are used in names of files and objects."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

MAX_TEXT_CHARS = 1024
"""Longest text among the facts about a face. The key of an object has at most 1024 bytes."""


def _check_texts(*texts: str) -> None:
    """Refuse texts that could be written to a gallery, but not be read again or be shown."""
    for text in texts:  # a loop is faster than `any`, and a gallery may have a million of them
        if len(text) > MAX_TEXT_CHARS:
            raise GalleryError(f"a text about a face has more than {MAX_TEXT_CHARS} characters")
        if not text.isascii() and _LONE_SURROGATE.search(text):
            raise GalleryError(
                "a text about a face has half of a surrogate pair, which cannot be stored as UTF-8"
            )


def new_id() -> str:
    """A random id for an example or a verdict."""
    return secrets.token_hex(8)


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

    def __post_init__(self) -> None:
        _check_texts(self.photo, self.bucket, self.key, self.etag)


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

    def __post_init__(self) -> None:
        _check_texts(self.added_by)


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

    def __post_init__(self) -> None:
        _check_texts(self.who)


def verdict_examples(verdict: Verdict) -> list[Example]:
    """The examples that a verdict adds to a person: one for each face of an *is* verdict.

    Their ids follow from the verdict's id, so they are the same whenever the verdict is added.
    """
    if verdict.kind != "is":
        return []
    ids = (f"{verdict.id}/{number}" for number in range(len(verdict.sources)))
    return [
        Example(
            hashlib.sha256(text.encode()).hexdigest()[:16],
            source,
            verdict.at_s,
            verdict.who,
            verdict=verdict.id,
        )
        for text, source in zip(ids, verdict.sources, strict=True)
    ]
