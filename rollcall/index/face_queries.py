"""Queries of the pages about faces: the video and the times of a face, and facts about groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import bindparam, func, select, text

from rollcall.core.face_tokens import stored_token
from rollcall.core.index_types import FaceRef, UnknownFaceRef
from rollcall.core.types import Encodings
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, video
from rollcall.index.people_queries import PersonInVideo, in_video

MAX_COUNTED = 1_000
"""Largest group whose videos are counted. Larger groups show the number of appearances."""

MAX_LOOKED_AT = 1_000
"""Number of the newest videos with unknown people among which those without stored faces are
counted."""


class SeenFace(NamedTuple):
    """A face of a video, with the person's name; empty for an unknown person."""

    seen: PersonInVideo
    name: str
    person_id: int | None


class GroupedFace(NamedTuple):
    """An unknown face in a group."""

    face: FaceRef
    token: str

    @property
    def lasting_ref(self) -> UnknownFaceRef:
        """The reference for forms: `face` may mean somebody else by the time they are sent."""
        return UnknownFaceRef(self.face.video_id, self.token)


class NotStored(NamedTuple):
    """Numbers of videos with unknown people whose faces are not stored."""

    videos: int
    """Videos of the store, whose faces are stored if they are recognised again."""
    files: int
    """Files of `rollcall recognise --index`."""


class GroupFacts(NamedTuple):
    """The middle of a group of unknown faces, and its encoding space."""

    centres: Encodings
    """One encoding, or several behind each other if somebody joined groups."""
    space: str


_CENTRES = text("SELECT id, space, centre FROM unknown_group WHERE id IN :ids").bindparams(
    bindparam("ids", expanding=True)
)
_VIDEOS = text(
    "SELECT group_id, count(DISTINCT video_id) FROM appearance WHERE group_id IN :ids"
    " GROUP BY group_id"
).bindparams(bindparam("ids", expanding=True))

_NEWEST = text(
    "SELECT newest.video_id, newest.number, encoding FROM (SELECT video_id, number, uploaded_s"
    " FROM appearance WHERE group_id=:group_id"
    " ORDER BY uploaded_s DESC, video_id DESC, number LIMIT :limit) AS newest"
    " JOIN unknown_face AS face"
    " ON face.video_id=newest.video_id AND face.number=newest.number"
    " ORDER BY newest.uploaded_s DESC, newest.video_id DESC, newest.number"
)
"""In the order of `SqlUnknownGroups.faces`, so that a form has the faces that its page shows."""
# Negative numbers are those of faces that have a name by now (`index.group_memory`).
_UNKNOWN = text(
    "SELECT video_id, number, encoding FROM unknown_face WHERE video_id IN :ids AND number>=0"
).bindparams(bindparam("ids", expanding=True))

_NOT_STORED = text(
    "SELECT count(*) FILTER (WHERE bucket<>''), count(*) FILTER (WHERE bucket='')"
    " FROM (SELECT kept, bucket FROM video WHERE unknown>0"
    " ORDER BY uploaded_s DESC, id DESC LIMIT :limit) AS newest WHERE kept='none'"
)
_ONLY_FILES = text(
    "SELECT EXISTS (SELECT 1 FROM video) AND NOT EXISTS (SELECT 1 FROM video WHERE bucket>'')"
)


class FaceQueries:
    """Reads the index. Every method may raise InboxUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def faces(self, refs: Sequence[FaceRef]) -> dict[FaceRef, SeenFace]:
        """The facts about these faces. A face whose video was removed is left out."""
        if not refs:
            return {}
        a, v = appearance.c, video.c
        query = (
            select(
                *(a.video_id, a.number, v.bucket, v.key, a.uploaded_s, v.duration_s, v.kept),
                *(a.certainty, a.distance, a.intervals, person.c.name, person.c.id),
            )
            .join_from(appearance, video, v.id == a.video_id)
            .outerjoin(person, person.c.id == a.person_id)
            # SQLite would scan the table for pairs of a video and a number.
            .where(a.video_id.in_({ref.video_id for ref in refs}))
        )
        with self._database.reading() as connection:
            rows = [
                SeenFace(in_video(*row[:10]), row[10] or "", row[11])
                for row in connection.execute(query)
            ]
        wanted = set(refs)
        return {row.seen.face: row for row in rows if row.seen.face in wanted}

    def unknown_not_stored(self) -> NotStored:
        """How many of the newest videos with unknown people have no stored faces."""
        with self._database.reading() as connection:
            return NotStored(*connection.execute(_NOT_STORED, {"limit": MAX_LOOKED_AT}).one())

    def only_files(self) -> bool:
        """Whether all videos of the index are files, of which there is one at least."""
        with self._database.reading() as connection:
            return bool(connection.execute(_ONLY_FILES).scalar_one())

    def ids(self, bucket: str, keys: Sequence[str]) -> dict[str, int]:
        """The ids of these videos, by their keys."""
        if not keys:
            return {}
        query = select(video.c.key, video.c.id)
        query = query.where(video.c.bucket == bucket, video.c.key.in_(set(keys)))
        with self._database.reading() as connection:
            return {row.key: row.id for row in connection.execute(query)}

    def groups(self, ids: Sequence[int]) -> dict[int, GroupFacts]:
        if not ids:
            return {}
        with self._database.reading() as connection:
            return {
                group_id: GroupFacts(np.frombuffer(centre, "<f4").astype(np.float64), space)
                for group_id, space, centre in connection.execute(_CENTRES, {"ids": list(ids)})
            }

    def of_groups(self, ids: Sequence[int], limit: int) -> dict[int, list[GroupedFace]]:
        """The newest faces of each group."""
        with self._database.reading() as connection:
            return {
                group_id: list(
                    _grouped(connection.execute(_NEWEST, {"group_id": group_id, "limit": limit}))
                )
                for group_id in ids
            }

    def still_unknown(self, faces: Sequence[UnknownFaceRef]) -> list[UnknownFaceRef]:
        """Those of the faces that nobody has named or ignored since they were shown."""
        if not faces:
            return []
        ids = sorted({each.video_id for each in faces})
        with self._database.reading() as connection:
            rows = connection.execute(_UNKNOWN, {"ids": ids})
            present = {each.lasting_ref for each in _grouped(rows)}
        return [each for each in faces if each in present]

    def newest_row(self, video_id: int) -> int:
        """The newest row of the video's people; 0 without people."""
        query = select(func.max(appearance.c.id)).where(appearance.c.video_id == video_id)
        with self._database.reading() as connection:
            return connection.execute(query).scalar() or 0

    def videos(self, sizes: dict[int, int]) -> dict[int, int]:
        """The number of videos of each group. `sizes` are the numbers of appearances by group; for
        a group with more than MAX_COUNTED, they are returned."""
        small = [group_id for group_id, size in sizes.items() if size <= MAX_COUNTED]
        if not small:
            return dict(sizes)
        with self._database.reading() as connection:
            counted = {row[0]: int(row[1]) for row in connection.execute(_VIDEOS, {"ids": small})}
        return {**sizes, **counted}


def _grouped(rows: Iterable[Any]) -> Iterator[GroupedFace]:
    for video_id, number, mean in rows:
        yield GroupedFace(FaceRef(video_id, number), stored_token(mean))
