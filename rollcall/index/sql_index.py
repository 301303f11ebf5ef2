"""The index of who appeared when, in an SQL database.

Several processes may write at the same time. In PostgreSQL, each transaction locks the rows of
videos first, in the order of their keys, and then those of people, in the order of their names.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, and_, select, text

from rollcall.core.face_tokens import stored_token
from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.core.texts import storable
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, unknown_face, video
from rollcall.database.json_rows import as_rows, ids_value
from rollcall.index.index_statements import STATEMENTS

MAX_PUT = 500
"""Limit on the videos of one transaction, so that no transaction gets long."""

# A row without a group was written a moment ago, and `unknown_face` may still have those before it.
_PEOPLE = (
    select(appearance, person.c.name, unknown_face.c.encoding)
    .outerjoin(person, person.c.id == appearance.c.person_id)
    .outerjoin(
        unknown_face,
        and_(
            unknown_face.c.video_id == appearance.c.video_id,
            unknown_face.c.number == appearance.c.number,
            appearance.c.group_id.is_not(None),
        ),
    )
    .order_by(appearance.c.number)
)

_compact = json.JSONEncoder(separators=(",", ":")).encode


def folded(name: str) -> str:
    """A name in small letters and without accents, for searches."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


class Written(NamedTuple):
    """The result of `put_in`."""

    places: dict[int, int]
    """The ids of the rows, each with the place of its video in the list."""
    ungrouped: set[int]
    """The videos that `ungroup` has to be called with."""


class SqlIndex:
    """A VideoIndex in a database, whose tables exist already."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = STATEMENTS[database.shared]

    def put(self, videos: Sequence[IndexedVideo]) -> None:
        for start in range(0, len(videos), MAX_PUT):
            batch = videos[start : start + MAX_PUT]
            self.ungroup(self._database.run(partial(self.put_in, videos=batch)).ungrouped)

    def put_in(self, connection: Connection, videos: Sequence[IndexedVideo]) -> Written:
        """`put` in the caller's transaction. The caller then has to call `ungroup`."""
        newest: dict[tuple[str, str], int] = {}
        for place, each in enumerate(videos):
            object_ = storable(each.bucket), storable(each.key)
            before = newest.get(object_)
            if before is None or replaces(each, videos[before]):
                newest[object_] = place
        if not newest:
            return Written({}, set())
        rows = [_video_row(*object_, videos[place]) for object_, place in sorted(newest.items())]
        found = connection.execute(self._sql.put_videos, {"rows": as_rows(rows)})
        written = {id_: newest[bucket, key] for id_, bucket, key in found}
        lost, ungrouped = self._drop_appearances(connection, written)
        self._put_appearances(connection, {id_: videos[n] for id_, n in written.items()})
        self._settle(connection, lost)
        return Written(written, ungrouped)

    def ungroup(self, video_ids: Collection[int]) -> None:
        """Take the unknown faces that these videos had out of their groups.

        If somebody has written another result with its faces since, these stay.
        """
        if video_ids:
            # Imported here, because numpy is slow to load, and few videos have stored faces.
            import numpy as np

            from rollcall.index.unknown_groups import SqlUnknownGroups, UnknownFaces

            none = np.zeros((0, 0))
            gone = [UnknownFaces(id_, "", (), none, 0.0) for id_ in sorted(video_ids)]
            SqlUnknownGroups(self._database).put_all(gone, partial(_without_groups, video_ids))

    def get(self, video_id: int) -> IndexedVideo | None:
        with self._database.reading() as connection:
            row = connection.execute(select(video).where(video.c.id == video_id)).one_or_none()
            if row is None:
                return None
            people = connection.execute(_PEOPLE.where(appearance.c.video_id == video_id))
            return indexed_video_of(row, map(_appearance_with_token, people))

    def id_of(self, bucket: str, key: str) -> int | None:
        query = select(video.c.id).where(video.c.bucket == bucket, video.c.key == key)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def remove(self, bucket: str, key: str, finished_s: float | None = None) -> bool:
        """Remove a video, and return whether it was there. With `finished_s`, it stays if it has a
        result of another time."""

        def change(connection: Connection) -> set[int] | None:
            values = {"bucket": bucket, "key": key}
            row = connection.execute(self._sql.lock_video, values).first()
            if row is None or finished_s not in (None, row.finished_s):
                return None
            lost, ungrouped = self._drop_appearances(connection, [row.id])
            connection.execute(self._sql.drop_video, {"id": row.id})
            self._settle(connection, lost)
            return ungrouped

        ungrouped = self._database.run(change)
        self.ungroup(ungrouped or ())
        return ungrouped is not None

    def _drop_appearances(
        self, connection: Connection, ids: Iterable[int]
    ) -> tuple[Counter[int], set[int]]:
        """Delete the appearances of videos, whose rows are locked, and their stored encodings.

        Returns how many appearances each person has lost, and the videos whose unknown people are
        in groups.
        """
        values = {"ids": ids_value(self._database.shared, ids)}
        dropped = connection.execute(self._sql.drop_appearances, values).scalars()
        people = Counter(id_ for id_ in dropped if id_ is not None)
        # The groups are asked, because a process may have ended before it called `ungroup`.
        ungrouped = set(connection.execute(self._sql.grouped_videos, values).scalars())
        # Encodings name appearances by their number, which may now be another one.
        connection.execute(self._sql.drop_faces, values)
        if people:
            values = {"ids": ids_value(self._database.shared, people)}
            connection.execute(self._sql.lock_people, values).all()
        return people, ungrouped

    def _put_appearances(self, connection: Connection, videos: dict[int, IndexedVideo]) -> None:
        rows: list[dict[str, Any]] = []
        people: dict[str, dict[str, Any]] = {}
        for id_, each in videos.items():
            for found in each.people:
                name = storable(found.name)
                rows.append({"name": name, **_appearance_row(id_, each, found)})
                if name:
                    _add_appearance(people, name, each.uploaded_s)
        if people:
            ordered = {"rows": as_rows(people[name] for name in sorted(people))}
            found_ids = connection.execute(self._sql.put_people, ordered)
            person_ids = {name: id_ for id_, name in found_ids}
            for row in rows:
                row["person_id"] = person_ids.get(row.pop("name"))
        if rows:
            connection.execute(self._sql.put_appearances, {"rows": as_rows(rows)})

    def _settle(self, connection: Connection, lost: Counter[int]) -> None:
        """Correct the rows of people who have lost appearances, and delete those without any."""
        if lost:
            rows = as_rows({"id": id_, "lost": count} for id_, count in lost.items())
            connection.execute(self._sql.take_from_people, {"rows": rows})
            ids = {"ids": ids_value(self._database.shared, lost)}
            connection.execute(self._sql.drop_people, ids)


def _without_groups(video_ids: Collection[int], connection: Connection) -> set[int]:
    """The videos none of whose people are in groups. New rows of people have no group yet."""
    grouped = appearance.c.video_id.in_(video_ids), text("group_id IS NOT NULL")
    query = select(appearance.c.video_id).where(*grouped)
    return set(video_ids) - set(connection.execute(query).scalars())


def replaces(new: IndexedVideo, old: IndexedVideo | Row[Any]) -> bool:
    """Whether a result takes the place of another one of the same video.

    A later result does. So does the result of an upload whose work was given up: the function may
    have written the result before, if only its answer was lost.
    """
    is_given_up = old.status == "error" != new.status and old.etag == new.etag
    return is_given_up or old.finished_s <= new.finished_s


def _add_appearance(people: dict[str, dict[str, Any]], name: str, uploaded_s: float) -> None:
    known = people.get(name)
    if known is None:
        seen = {"first_seen_s": uploaded_s, "last_seen_s": uploaded_s}
        people[name] = {"name": name, "folded": folded(name), "videos": 1, **seen}
    else:
        known["videos"] += 1
        known["first_seen_s"] = min(known["first_seen_s"], uploaded_s)
        known["last_seen_s"] = max(known["last_seen_s"], uploaded_s)


def _video_row(bucket: str, key: str, each: IndexedVideo) -> dict[str, Any]:
    named = sum(bool(found.name) for found in each.people)
    looks = each.coverage.get("looks")
    return {
        "bucket": bucket,
        "key": key,
        "etag": storable(each.etag),
        "work_id": storable(each.work_id),
        "status": storable(each.status),
        "error_code": storable(each.error_code),
        "error_message": storable(each.error_message),
        "uploaded_s": each.uploaded_s,
        "finished_s": each.finished_s,
        "duration_s": each.duration_s,
        "looks": looks if isinstance(looks, int) else 0,
        "coverage": json.dumps(dict(each.coverage)) if each.coverage else "",
        "named": named,
        "unknown": len(each.people) - named,
        "gallery": storable(each.gallery),
        "kept": each.kept,
        "corrected": int(each.corrected),
    }


def _appearance_row(video_id: int, each: IndexedVideo, found: Appearance) -> dict[str, Any]:
    return {
        "video_id": video_id,
        "number": found.number,
        "uploaded_s": each.uploaded_s,
        "first_s": found.first_s,
        "last_s": found.last_s,
        "seconds": found.seconds,
        "frames": found.frames,
        "distance": found.distance,
        "certainty": found.certainty,
        "intervals": _compact(found.intervals),
    }


def indexed_video_of(row: Row[Any], people: Iterable[Appearance]) -> IndexedVideo:
    return IndexedVideo(
        bucket=row.bucket,
        key=row.key,
        etag=row.etag,
        status=row.status,
        work_id=row.work_id,
        error_code=row.error_code,
        error_message=row.error_message,
        uploaded_s=row.uploaded_s,
        finished_s=row.finished_s,
        duration_s=row.duration_s,
        coverage=json.loads(row.coverage) if row.coverage else {},
        people=tuple(people),
        gallery=row.gallery,
        kept=row.kept,
        corrected=bool(row.corrected),
    )


def appearance_from(row: Row[Any]) -> Appearance:
    """The appearance in a row of `appearance`, with the name of `person`."""
    return Appearance(
        number=row.number,
        name=row.name or "",
        first_s=row.first_s,
        last_s=row.last_s,
        frames=row.frames,
        distance=row.distance,
        certainty=row.certainty,
        intervals=tuple((start_s, end_s) for start_s, end_s in json.loads(row.intervals or "[]")),
    )


def _appearance_with_token(row: Row[Any]) -> Appearance:
    found = appearance_from(row)
    return replace(found, token=stored_token(row.encoding)) if row.encoding else found
