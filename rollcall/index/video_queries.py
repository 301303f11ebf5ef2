"""Queries of the list of videos: the videos that a filter accepts, newest first, in pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, text

from rollcall.core.index_types import Appearance
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, rematch, video
from rollcall.index.sql_index import appearance_from, folded
from rollcall.index.video_filter import TOP, Place, VideoFilter
from rollcall.index.video_walks import (
    MAX_FILTERED,
    like,
    people_found,
    people_query,
    row_conditions,
    walks_for,
)

SHOWN_PEOPLE = 40
"""People of a video whose intervals are read for its strip."""

MAX_NEW = 99
"""New videos are counted up to this number."""

MAX_LOOKED_AT = 10_000
"""Newest videos among which new ones are counted."""


@dataclass(frozen=True, slots=True)
class VideoRow:
    """A video, as lists show it."""

    id: int
    bucket: str
    key: str
    status: str
    error_code: str
    uploaded_s: float
    finished_s: float
    duration_s: float
    named: int
    unknown: int
    kept: str
    corrected: bool
    coverage: str
    """JSON; empty if it is not known."""
    people: tuple[Appearance, ...] = ()
    """The first people of the report; named people come first."""

    @property
    def place(self) -> Place:
        return Place(self.uploaded_s, self.id)


@dataclass(frozen=True, slots=True)
class VideoPage:
    """A page of the list."""

    rows: tuple[VideoRow, ...]
    next: Place | None
    """Where the next page begins; None after the last video."""
    searched_to_s: float | None = None
    """If the page ended at a limit, the upload time down to which videos were searched."""


class VideoQueries:
    """Reads the index. Every method may raise InboxUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, wanted: VideoFilter, before: Place = TOP, limit: int = 50) -> VideoPage:
        """The first `limit` videos after the place `before`."""
        if wanted.impossible:
            return VideoPage((), None)
        with self._database.reading() as connection:
            found, end = set[Place](), None
            walks = walks_for(connection, wanted)
            budget = MAX_FILTERED // len(walks)
            for walk in walks:
                shared = self._database.shared
                places, ended = walk.find(connection, shared, before, limit + 1, budget)
                found.update(places)
                end = max(filter(None, (end, ended)), default=None)
            places = sorted((place for place in found if not end or place >= end), reverse=True)
            full = len(places) > limit
            rows = _rows(connection, [place.id for place in places[:limit]])
        if full:
            return VideoPage(rows, places[limit - 1])
        return VideoPage(rows, end, end.uploaded_s if end else None)

    def count_new(self, wanted: VideoFilter, after_id: int) -> int:
        """How many accepted videos have come into the index after the row with this id.

        Only the newest MAX_LOOKED_AT videos are read, because a page may stay open for weeks.
        """
        if wanted.impossible:
            return 0
        after_id = max(after_id, self.newest_id() - MAX_LOOKED_AT)
        with self._database.reading() as connection:
            people = people_found(connection, wanted)
            conditions, values = row_conditions(wanted, people)
            newer = text(
                f"SELECT v.id FROM video v WHERE v.id>:after_id AND {conditions} LIMIT :limit"
            )
            values |= {"after_id": after_id, "limit": MAX_NEW}
            return len(connection.execute(newer, values).all())

    def newest_id(self) -> int:
        """The largest id of a row, which every later row exceeds; 0 without rows."""
        with self._database.reading() as connection:
            return connection.execute(_NEWEST_ID).scalar() or 0

    def waits_for_correction(self, bucket: str, key: str) -> bool:
        """Whether the stored faces of the video still have to be compared with the gallery."""
        query = select(rematch.c.id).where(rematch.c.bucket == bucket, rematch.c.key == key)
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def person_id(self, name: str) -> int | None:
        """The row of the person with exactly this name, or whose folded name is the only match."""
        with self._database.reading() as connection:
            rows = connection.execute(_WITH_NAME, {"name": name, "folded": folded(name)}).all()
        exact = [row.id for row in rows if row.name == name]
        return exact[0] if exact else rows[0].id if len(rows) == 1 else None

    def names(self, part: str, limit: int = 20) -> list[str]:
        """Names that contain this text, those who were seen last first."""
        values = {"w0": like(folded(part)), "limit": limit}
        with self._database.reading() as connection:
            return list(connection.execute(people_query(1, "name"), values).scalars())


_NEWEST_ID = text("SELECT max(id) FROM video")
_WITH_NAME = text(
    "SELECT id, name FROM person WHERE name=:name OR folded=:folded"
    " ORDER BY CASE WHEN name=:name THEN 0 ELSE 1 END LIMIT 2"
)


_COLUMNS = (
    *(video.c.id, video.c.bucket, video.c.key, video.c.status, video.c.error_code),
    *(video.c.uploaded_s, video.c.finished_s, video.c.duration_s, video.c.named),
    *(video.c.unknown, video.c.kept, video.c.corrected),
    video.c.coverage,
)


def _rows(connection: Connection, ids: Sequence[int]) -> tuple[VideoRow, ...]:
    """The videos with these ids, in this order, each with its first people."""
    if not ids:
        return ()
    people: dict[int, list[Appearance]] = {}
    shown = (
        select(appearance, person.c.name)
        .outerjoin(person, person.c.id == appearance.c.person_id)
        .where(appearance.c.video_id.in_(ids), appearance.c.number < SHOWN_PEOPLE)
        .order_by(appearance.c.video_id, appearance.c.number)
    )
    for row in connection.execute(shown):
        people.setdefault(row.video_id, []).append(appearance_from(row))
    found = {
        row.id: _video_row(row, people.get(row.id, ()))
        for row in connection.execute(select(*_COLUMNS).where(video.c.id.in_(ids)))
    }
    return tuple(found[id_] for id_ in ids if id_ in found)


def _video_row(row: Any, people: Iterable[Appearance]) -> VideoRow:
    named_first = tuple(sorted(people, key=lambda seen: not seen.name))
    return VideoRow(**{**row._mapping, "corrected": bool(row.corrected)}, people=named_first)
