"""The person of a video that a form is about, also after a correction of the video.

People get other numbers if somebody else in the video is named. So each form has the version of its
person: a digest of what the page showed, and for an unknown face of its token.
"""

from __future__ import annotations

import hashlib

from rollcall.core.index_types import AnyFaceRef, Appearance, FaceRef, IndexedVideo, UnknownFaceRef


def person_version(video: IndexedVideo, seen: Appearance) -> str:
    if seen.token:
        facts: tuple[object, ...] = (seen.token,)
    elif seen.name:
        facts = seen.name, seen.intervals
    else:
        facts = seen.number, seen.intervals
    return hashlib.sha256(repr((video.etag, facts)).encode("utf-8", "replace")).hexdigest()[:16]


def person_with(video: IndexedVideo, version: str) -> Appearance | None:
    """The person whose form has this version; None if the person has changed since."""
    return next((seen for seen in video.people if person_version(video, seen) == version), None)


def face_ref(video_id: int, seen: Appearance) -> AnyFaceRef:
    """The reference for a verdict. If the face has a token, it cannot become somebody else's."""
    if seen.token:
        return UnknownFaceRef(video_id, seen.token)
    return FaceRef(video_id, seen.number)
