"""Groups of unknown faces of all videos that look alike, in the database."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select, func, select, text, update

from rollcall.core.encoding_space import DLIB, EncodingSpace
from rollcall.core.face_tokens import mean_encoding
from rollcall.core.index_types import FaceRef
from rollcall.core.types import Encodings
from rollcall.core.web_protocols import UnknownGroup
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance
from rollcall.database.index_tables import unknown_face as faces
from rollcall.database.index_tables import unknown_group as table
from rollcall.index.centres import Centres, Rows, as_rows
from rollcall.index.face_search import ChooseVideos
from rollcall.index.group_memory import Pair, matched, remember, rename_groups
from rollcall.index.group_rows import (
    Member,
    load_groups,
    shrink_groups,
    take_members,
    write_groups,
    write_members,
    write_times,
)
from rollcall.index.grouping import Group, Grouping
from rollcall.index.row_versions import lock_versions

JOIN_PART = 0.8
"""The join distance divided by the tolerance of the encoding space: 0.48 for dlib's space."""

MERGE_PART = 0.7
"""The merge distance divided by the tolerance: 0.42 for dlib's space (docs/decisions/0135)."""

SHOWN_FACES = 5
"""How many faces `largest` and `get` return of a group."""

VIDEOS_AT_ONCE = 500
"""Videos whose members are removed by one statement."""

RANKED_FACES = 100
"""How many of a group's newest faces are compared with its centre, to find those to show."""

Chosen = tuple[list[Member], list[Group]]
"""Members to store, and the group of each."""


class UnknownFaces(NamedTuple):
    """The unknown appearances of a video."""

    video_id: int
    space: str
    numbers: Sequence[int]
    """The appearance of each encoding."""
    encodings: Encodings
    """Shape (n, size)."""
    uploaded_s: float
    others: Callable[[], Rows] | None = None
    """Returns all other stored encodings of the video: of people with a name, and of ignored faces.
    They are only needed if a face has left a group, and may take much memory."""


class SqlUnknownGroups:
    """UnknownGroups in the tables `unknown_group` and `unknown_face`, for one encoding space.

    The caller closes the database. Several threads and processes may use the same tables.
    """

    def __init__(self, database: Database, space: EncodingSpace = DLIB) -> None:
        self._database = database
        self._space = space
        self._centres = Centres(space.name, space.size)
        self._lock = threading.Lock()

    def put(
        self,
        video_id: int,
        space: str,
        numbers: Sequence[int],
        encodings: Encodings,
        uploaded_s: float,
    ) -> None:
        """Put the unknown appearances of a video into groups, in place of earlier ones.

        Call this after the index was written, with no rows if nobody in the video is unknown or the
        video was removed. Encodings of another space count as none.
        """
        self.put_all([UnknownFaces(video_id, space, numbers, encodings, uploaded_s)])

    def put_all(self, videos: Sequence[UnknownFaces], choose: ChooseVideos | None = None) -> None:
        """Do the same for several videos in one transaction. The last entry of a video counts.

        A face that was unknown before stays in its group. One that was in a group until somebody
        named or ignored it gets back into this group. With `choose`, the videos that it does not
        return stay unchanged.
        """
        newest = {video.video_id: video for video in videos}
        own = [video for video in newest.values() if video.space == self._space.name]
        added = [member for video in own for member in _members(video, self._space.size)]
        others = {each.video_id: (each.uploaded_s, each.others) for each in own}

        def take(connection: Connection) -> tuple[list[Pair], list[Member]]:
            """The faces to add, each with the same face before; and those that leave a group."""
            ids = sorted(newest if choose is None else choose(connection))
            parts = (ids[at : at + VIDEOS_AT_ONCE] for at in range(0, len(ids), VIDEOS_AT_ONCE))
            taken = [member for part in parts for member in _take_out(connection, part)]
            chosen = set(ids)
            pairs, left = matched(taken, [each for each in added if each.video_id in chosen])
            remember(connection, left, others, JOIN_PART * self._space.tolerance)
            return pairs, [member for member in left if member.number >= 0]

        def change(connection: Connection, grouping: Grouping, version: int) -> Chosen:
            pairs, left = take(connection)
            # A group that gets empty stays until its faces may have come back.
            before = (old for _, old in pairs if old is not None)
            grouping.open(abs(member.group_id) for member in [*left, *before])
            gone = [each for each in left if not grouping.remove(each.group_id, each.encoding)]
            shrink_groups(connection, gone, version)
            return self._put_back(grouping, pairs)

        def only_remove(connection: Connection) -> None:
            version = lock_versions(self._database, connection, table)
            shrink_groups(connection, take(connection)[1], version)

        if added:
            self._change(change)
        elif newest:
            self._database.run(only_remove)

    def set_same(self, verdicts: Sequence[Encodings]) -> None:
        """Join the groups of faces that show one person, by the verdicts of kind `same`.

        `verdicts` are the encodings of all such verdicts of the gallery. Groups that were joined by
        other verdicts are taken apart. Call this after such a verdict was added or undone, and
        after the index was rebuilt.
        """
        size = self._space.size
        rows = (np.asarray(v, np.float32) for v in verdicts if v.ndim == 2 and v.shape[1] == size)
        wanted = {hashlib.sha256(each.tobytes()).hexdigest()[:16]: each for each in rows}

        def change(connection: Connection, grouping: Grouping, version: int) -> Chosen:
            joined = text("same<>''")
            query = select(table.c.id).where(joined, table.c.space == self._space.name)
            groups = grouping.open(connection.execute(query).scalars().all())
            wrong = [group for group in groups if not group.same <= wanted.keys()]
            members = take_members(connection, "group_id", [group.id for group in wrong])
            # Faces that come back later are grouped anew, too (`group_memory`).
            take_members(connection, "group_id", [-group.id for group in wrong])
            right = {digest for group in groups if group not in wrong for digest in group.same}
            for group in wrong:
                grouping.dissolve(group)
            chosen = self._add(grouping, members)
            for digest in sorted(wanted.keys() - right):
                grouping.join(wanted[digest], digest)
            return members, chosen

        self._change(change)

    def largest(self, limit: int, offset: int = 0) -> list[UnknownGroup]:
        order = (table.c.appearances.desc(), table.c.id.desc())
        query = select(table).where(table.c.appearances > 0).order_by(*order)
        return self._read(query.limit(limit).offset(offset))

    def count(self) -> int:
        query = select(func.count()).select_from(table).where(table.c.appearances > 0)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def get(self, group_id: int) -> UnknownGroup | None:
        query = select(table).where(table.c.id == group_id, table.c.appearances > 0)
        return next(iter(self._read(query)), None)

    def faces(self, group_id: int, limit: int) -> list[FaceRef]:
        query = _newest(group_id, limit).with_only_columns(faces.c.video_id, faces.c.number)
        with self._database.reading() as connection:
            return [FaceRef(*row) for row in connection.execute(query)]

    def _change(self, change: Callable[[Connection, Grouping, int], Chosen]) -> None:
        """Run `change` in a transaction, and store the members that it returns."""
        space = self._space

        def run(connection: Connection) -> None:
            version = lock_versions(self._database, connection, table)
            self._centres.follow(connection)
            grouping = Grouping(
                self._centres,
                lambda ids: load_groups(connection, ids, space.size, space.name),
                JOIN_PART * space.tolerance,
                MERGE_PART * space.tolerance,
            )
            members, chosen = change(connection, grouping, version)
            grouping.merge_near()
            write_groups(connection, space.name, grouping.groups(), version)
            rename_groups(connection, grouping.made_again)
            write_members(connection, members, chosen)
            write_times(connection, grouping.groups())

        with self._lock:
            self._database.run(run)

    def _add(self, grouping: Grouping, members: Sequence[Member]) -> list[Group]:
        if not members:
            return []
        encodings = np.array([member.encoding for member in members])
        return grouping.add(encodings, [member.uploaded_s for member in members])

    def _put_back(self, grouping: Grouping, pairs: Sequence[Pair]) -> Chosen:
        """Put faces into the groups in which they were before, and the others into the nearest."""
        known = [(new, old) for new, old in pairs if old is not None]
        fresh = [new for new, old in pairs if old is None]
        groups = [
            grouping.bring_back(-old.group_id, new.encoding, new.uploaded_s)
            if old.group_id < 0
            else grouping.keep(old.group_id, new.encoding, new.uploaded_s, old.uploaded_s)
            for new, old in known
        ]
        return [*(new for new, _ in known), *fresh], groups + self._add(grouping, fresh)

    def _read(self, query: Select[Any]) -> list[UnknownGroup]:
        with self._database.reading() as connection:
            return [
                UnknownGroup(
                    row.id,
                    row.appearances,
                    row.first_seen_s,
                    row.last_seen_s,
                    self._shown(connection, row),
                )
                for row in connection.execute(query).all()
            ]

    def _shown(self, connection: Connection, row: Any) -> tuple[FaceRef, ...]:
        """Some faces of a group, the nearest to its centre first."""
        members = connection.execute(_newest(row.id, RANKED_FACES)).all()
        encodings = [np.frombuffer(member.encoding, "<f2") for member in members]
        sizes = {len(encoding) for encoding in encodings}
        if len(sizes) != 1:
            return ()
        centres = as_rows(row.centre, sizes.pop())
        matrix = np.array(encodings, np.float32)
        distances = [np.linalg.norm(matrix - centre, axis=1) for centre in centres]
        order = np.min(distances, axis=0).argsort(kind="stable")[:SHOWN_FACES]
        return tuple(FaceRef(members[i].video_id, members[i].number) for i in order.tolist())


def _take_out(connection: Connection, video_ids: Sequence[int]) -> list[Member]:
    left = appearance.c.video_id.in_(video_ids), text("group_id IS NOT NULL")
    connection.execute(update(appearance).where(*left).values(group_id=None))
    return take_members(connection, "video_id", video_ids)


def _newest(group_id: int, limit: int) -> Select[Any]:
    order = (faces.c.uploaded_s.desc(), faces.c.video_id.desc(), faces.c.number)
    return select(faces).where(faces.c.group_id == group_id).order_by(*order).limit(limit)


def _members(video: UnknownFaces, size: int) -> list[Member]:
    """The appearances of a video, each with the mean of its encodings."""
    numbers = np.asarray(video.numbers, np.int64)
    rows = np.asarray(video.encodings, np.float64)
    if not len(numbers):
        return []
    if rows.shape != (len(numbers), size):
        raise ValueError(f"{len(numbers)} numbers do not fit encodings of shape {rows.shape}")
    return [
        Member(
            video.video_id,
            number,
            video.uploaded_s,
            mean_encoding(rows[numbers == number]),
        )
        for number in np.unique(numbers).tolist()
    ]
