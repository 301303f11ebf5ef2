"""The index of who appeared when, in an SQL database.

Several processes may write at the same time. In PostgreSQL, each transaction locks the rows of
videos first, in the order of their keys, and then those of people, in the order of their names.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, select

from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.core.texts import storable
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, video
from rollcall.database.json_rows import as_rows, ids_value
from rollcall.index.index_statements import STATEMENTS

MAX_PUT = 500
"""Limit on the videos of one transaction, so that no transaction gets long."""


def folded(name: str) -> str:
    """A name in small letters and without accents, for searches."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


class SqlIndex:
    """A VideoIndex in a database, whose tables exist already."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = STATEMENTS[database.shared]

    def put(self, videos: Sequence[IndexedVideo]) -> None:
        for start in range(0, len(videos), MAX_PUT):
            batch = videos[start : start + MAX_PUT]
            self._database.run(partial(self.put_in, videos=batch))

    def put_in(self, connection: Connection, videos: Sequence[IndexedVideo]) -> dict[int, int]:
        """`put` in the caller's transaction. Returns the ids of the rows that were written, each
        with the place of its video in `videos`."""
        newest: dict[tuple[str, str], int] = {}
        for place, each in enumerate(videos):
            object_ = storable(each.bucket), storable(each.key)
            before = newest.get(object_)
            if before is None or videos[before].finished_s <= each.finished_s:
                newest[object_] = place
        if not newest:
            return {}
        rows = [_video_row(*object_, videos[place]) for object_, place in sorted(newest.items())]
        found = connection.execute(self._sql.put_videos, {"rows": as_rows(rows)})
        written = {id_: newest[bucket, key] for id_, bucket, key in found}
        lost = self._drop_appearances(connection, written)
        self._put_appearances(connection, {id_: videos[n] for id_, n in written.items()})
        self._settle(connection, *lost)
        return written

    def get(self, video_id: int) -> IndexedVideo | None:
        with self._database.reading() as connection:
            row = connection.execute(select(video).where(video.c.id == video_id)).one_or_none()
            if row is None:
                return None
            query = (
                select(appearance, person.c.name)
                .outerjoin(person, person.c.id == appearance.c.person_id)
                .where(appearance.c.video_id == video_id)
                .order_by(appearance.c.number)
            )
            return _indexed_video(row, connection.execute(query))

    def id_of(self, bucket: str, key: str) -> int | None:
        query = select(video.c.id).where(video.c.bucket == bucket, video.c.key == key)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def remove(self, bucket: str, key: str) -> None:
        self._database.run(lambda connection: self.remove_in(connection, bucket, key))

    def remove_in(self, connection: Connection, bucket: str, key: str) -> None:
        """`remove` in the caller's transaction."""
        values = {"bucket": bucket, "key": key}
        id_ = connection.execute(self._sql.lock_video, values).scalar_one_or_none()
        if id_ is not None:
            lost = self._drop_appearances(connection, [id_])
            connection.execute(self._sql.drop_video, {"id": id_})
            self._settle(connection, *lost)

    def _drop_appearances(
        self, connection: Connection, ids: Iterable[int]
    ) -> tuple[Counter[int], Counter[int]]:
        """Delete the appearances of videos, whose rows are locked, and their stored encodings.

        Returns how many appearances each person and each group of unknown people has lost.
        """
        values = {"ids": ids_value(self._database.shared, ids)}
        people, groups = Counter[int](), Counter[int]()
        for person_id, group_id in connection.execute(self._sql.drop_appearances, values):
            if person_id is not None:
                people[person_id] += 1
            if group_id is not None:
                groups[group_id] += 1
        # Encodings name appearances by their number, which may now be another one.
        connection.execute(self._sql.drop_faces, values)
        if people:
            values = {"ids": ids_value(self._database.shared, people)}
            connection.execute(self._sql.lock_people, values).all()
        return people, groups

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

    def _settle(self, connection: Connection, people: Counter[int], groups: Counter[int]) -> None:
        """Correct the rows of people and groups that have lost appearances. Delete empty ones."""
        sql, shared = self._sql, self._database.shared
        if people:
            _take(connection, sql.take_from_people, people)
            connection.execute(sql.drop_people, {"ids": ids_value(shared, people)})
        if groups:
            connection.execute(sql.lock_groups, {"ids": ids_value(shared, groups)}).all()
            _take(connection, sql.take_from_groups, groups)
            connection.execute(sql.drop_groups, {"ids": ids_value(shared, groups)})


def _take(connection: Connection, statement: Any, lost: Counter[int]) -> None:
    rows = as_rows({"id": id_, "lost": count} for id_, count in sorted(lost.items()))
    connection.execute(statement, {"rows": rows})


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
        "intervals": json.dumps(found.intervals, separators=(",", ":")),
    }


def _indexed_video(row: Row[Any], appearances: Iterable[Row[Any]]) -> IndexedVideo:
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
        people=tuple(_appearance(each) for each in appearances),
        gallery=row.gallery,
        kept=row.kept,
        corrected=bool(row.corrected),
    )


def _appearance(row: Row[Any]) -> Appearance:
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
