"""The videos of the index that faces of the gallery come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, text

from rollcall.core.index_types import FaceRef
from rollcall.database.database import Database


class VideoOfFace(NamedTuple):
    """A video that a face of the gallery comes from."""

    video_id: int
    face: FaceRef | None
    """The person's appearance in it, if its pictures are stored."""


_IN_VIDEOS = text(
    "SELECT v.bucket, v.key, v.etag, v.id, v.kept, a.number FROM video v"
    " LEFT JOIN appearance a ON a.video_id=v.id AND a.person_id=:id"
    " WHERE v.bucket IN :buckets AND v.key IN :keys"
).bindparams(bindparam("buckets", expanding=True), bindparam("keys", expanding=True))


def videos_of_faces(
    database: Database, objects: Sequence[tuple[str, str]], person_id: int | None
) -> dict[tuple[str, str, str], VideoOfFace]:
    """Those of the objects, given by bucket and key, that the index has, by bucket, key and etag.

    Raises InboxUnavailable.
    """
    if not objects:
        return {}
    buckets, keys = zip(*objects, strict=True)
    values = {"id": person_id, "buckets": sorted(set(buckets)), "keys": sorted(set(keys))}
    found = {}
    with database.reading() as connection:
        rows = connection.execute(_IN_VIDEOS, values)
        for bucket, key, etag, video_id, kept, number in rows:
            has_picture = number is not None and kept == "pictures"
            face = FaceRef(video_id, number) if has_picture else None
            found[bucket, key, etag] = VideoOfFace(video_id, face)
    return found
