"""Queries of `rollcall results`: who was in which video, in the order of the uploads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, func, select, text, tuple_

from rollcall.core.index_types import IndexedVideo
from rollcall.core.names import appearance_of, normalise_name
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, video
from rollcall.database.json_rows import as_rows, rows_sql
from rollcall.index.sql_index import appearance_from, folded, indexed_video_of

PAGE = 500
"""Videos that are read at once."""
MAX_SIMILAR = 5

_NAMED = text("person_id IS NOT NULL")
_WITH_UNKNOWN = text("unknown>0")
"""Literals, because SQLite uses a partial index only for a query that repeats its condition."""


@dataclass(frozen=True, slots=True)
class Period:
    """From `since_s` to `until_s` (excluded), in Unix time. It is about the uploads."""

    since_s: float = 0.0
    until_s: float = 1e12


class Counts(NamedTuple):
    """Numbers of videos."""

    videos: int
    with_unknown: int
    """Videos with unknown people."""
    failed: int


class ResultQueries:
    """Reads the index. Every method may raise InboxUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        seen = (
            "SELECT 1 FROM appearance a WHERE a.person_id=p.id"
            " AND a.uploaded_s >= :since_s AND a.uploaded_s < :until_s"
        )
        self._seen = text(
            f"SELECT r.name, p.name FROM {rows_sql(database.shared, 'name text, folded text')}"
            f" JOIN person p ON p.folded=r.folded WHERE EXISTS ({seen})"
        )

    def person(self, name: str) -> tuple[int, str] | None:
        """The id and the name of a person, in any spelling that is only this person's."""
        wanted = normalise_name(name)
        query = select(person.c.id, person.c.name)
        with self._database.reading() as connection:
            exact = connection.execute(query.where(person.c.name == wanted)).one_or_none()
            if exact:
                return exact.id, exact.name
            alike = query.where(person.c.folded == folded(wanted)).limit(2)
            found = connection.execute(alike).all()
        return (found[0].id, found[0].name) if len(found) == 1 else None

    def similar(self, name: str) -> list[str]:
        """Some names that begin like this one, for a message."""
        letters = folded(normalise_name(name))
        first = letters.split(" ")[0][:4]
        query = select(person.c.name).where(
            person.c.folded >= first, person.c.folded < first + "\uffff"
        )
        with self._database.reading() as connection:
            ordered = query.order_by(person.c.folded).limit(MAX_SIMILAR)
            return list(connection.execute(ordered).scalars())

    def videos(
        self, period: Period, person_id: int | None = None, *, unknown: bool = False
    ) -> Iterator[IndexedVideo]:
        """The videos of a period, the oldest upload first; only those with this person, or with
        unknown people, if asked for."""
        place = (period.since_s, 0)
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(_page(period, place, person_id, unknown=unknown)).all()
                people = _people(connection, [row.id for row in rows])
            for row in rows:
                yield indexed_video_of(row, map(appearance_from, people.get(row.id, [])))
            if len(rows) < PAGE:
                return
            place = (rows[-1].uploaded_s, rows[-1].id)

    def counts(self, period: Period) -> Counts:
        """How many videos were uploaded in this period, and how many of them leave questions."""
        query = select(
            func.count(),
            func.count().filter(video.c.unknown > 0),
            func.count().filter(video.c.status == "error"),
        ).where(*_within(video.c.uploaded_s, period))
        with self._database.reading() as connection:
            return Counts(*connection.execute(query).one())

    def absent(self, names: Sequence[str], period: Period) -> list[str]:
        """Those of the names whose person was not seen in the period. Case does not matter."""
        seen = set()
        with self._database.reading() as connection:
            for start in range(0, len(names), PAGE):
                rows = [{"name": n, "folded": folded(n)} for n in names[start : start + PAGE]]
                values = {"since_s": period.since_s, "until_s": period.until_s}
                found = connection.execute(self._seen, {"rows": as_rows(rows), **values})
                seen |= {
                    name for name, other in found if appearance_of(name) == appearance_of(other)
                }
        return [name for name in names if name not in seen]


def _within(column: Any, period: Period) -> tuple[Any, Any]:
    return column >= period.since_s, column < period.until_s


def _page(
    period: Period, place: tuple[float, int], person_id: int | None, *, unknown: bool
) -> Select[Any]:
    """The first videos after a place, which is the time of an upload and the id of a video."""
    if person_id is None:
        order = (video.c.uploaded_s, video.c.id)
        query = select(video).where(*_within(video.c.uploaded_s, period))
    else:
        order = (appearance.c.uploaded_s, appearance.c.video_id)
        query = (
            select(video)
            .join(appearance, appearance.c.video_id == video.c.id)
            .where(appearance.c.person_id == person_id, _NAMED)
            .where(*_within(appearance.c.uploaded_s, period))
        )
    if unknown:
        query = query.where(_WITH_UNKNOWN)
    return query.where(tuple_(*order) > tuple_(*place)).order_by(*order).limit(PAGE)


def _people(connection: Connection, ids: Sequence[int]) -> dict[int, list[Row[Any]]]:
    """The appearances in these videos."""
    query = (
        select(appearance, person.c.name)
        .outerjoin(person, person.c.id == appearance.c.person_id)
        .where(appearance.c.video_id.in_(ids))
        .order_by(appearance.c.video_id, appearance.c.number)
    )
    people: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(query) if ids else ():
        people.setdefault(row.video_id, []).append(row)
    return people
