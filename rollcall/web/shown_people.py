"""The person of a video that a form is about, also after a correction of the video.

People get other numbers if somebody else in the video is named. So the form of an unknown face has
its token, and every other form the version of its person: a digest of what the page showed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import NamedTuple

from rollcall.core.index_types import (
    AnyFaceRef,
    Appearance,
    IndexedVideo,
    ShownFaceRef,
    UnknownFaceRef,
)
from rollcall.database.database import Database
from rollcall.index.face_queries import FaceQueries

_TOKEN = re.compile("face-([0-9a-f]{16})")


class ShownPerson(NamedTuple):
    """The person of a form."""

    face: AnyFaceRef
    name: str
    """Empty for an unknown person."""


def person_version(video: IndexedVideo, seen: Appearance) -> str:
    if seen.token:
        return f"face-{seen.token}"
    facts = (seen.name or seen.number, seen.intervals)
    return hashlib.sha256(repr((video.etag, facts)).encode("utf-8", "replace")).hexdigest()[:16]


def person_with(
    database: Database, video_id: int, video: IndexedVideo, version: str
) -> ShownPerson | None:
    """The person whose form has this version; None if the person has changed since."""
    if match := _TOKEN.fullmatch(version):
        # While the video is written again, the index has its people without their tokens.
        face = UnknownFaceRef(video_id, match[1])
        return ShownPerson(face, "") if FaceQueries(database).still_unknown([face]) else None
    for seen in video.people:
        # The form may be older than the token.
        if version == person_version(video, replace(seen, token="")):
            return ShownPerson(_face_ref(video_id, seen), seen.name)
    return None


def _face_ref(video_id: int, seen: Appearance) -> AnyFaceRef:
    """The reference for a verdict. It cannot become somebody else's."""
    if seen.token:
        return UnknownFaceRef(video_id, seen.token)
    return ShownFaceRef(video_id, seen.number, seen.name, seen.intervals)
