"""Queries of the pages about people: who was seen, on which days, and in which videos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, text

from rollcall.core.index_types import FaceRef
from rollcall.core.types import Certainty
from rollcall.database.database import Database

DAY_S = 86_400

AFTER_ALL = "\U0010ffff"
"""No name begins with this character, which is the last one of Unicode."""

MAX_LETTERS = 80
"""First letters that are offered as a filter. Chinese names begin with hundreds of characters."""

NEWEST_WITH_PICTURE = 30
"""How many of a person's newest appearances are searched for one with a picture."""


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person, as lists show them."""

    name: str
    id: int | None = None
    """Row of the table `person`; None for somebody of the gallery who was never seen."""
    videos: int = 0
    first_seen_s: float = 0.0
    last_seen_s: float = 0.0
    folded: str = ""


@dataclass(frozen=True, slots=True)
class PersonInVideo:
    """One appearance of a person. Times within the video are in seconds."""

    face: FaceRef
    bucket: str
    key: str
    uploaded_s: float
    duration_s: float
    has_picture: bool
    certainty: Certainty
    distance: float | None
    intervals: tuple[tuple[float, float], ...]

    @property
    def first_s(self) -> float:
        return self.intervals[0][0] if self.intervals else 0.0


class PeopleFilter(NamedTuple):
    """Which people a list shows: names that begin with `letter` and contain `search`."""

    letter: str = ""
    search: str = ""

    def accepts(self, folded: str) -> bool:
        return folded.startswith(self.letter) and self.search in folded

    def values(self) -> dict[str, str]:
        escaped = self.search
        for character in "\\%_":
            escaped = escaped.replace(character, "\\" + character)
        return {
            "low": self.letter,
            "high": (self.letter or "") + AFTER_ALL,
            "pattern": f"%{escaped}%",
        }


_PERSON = "SELECT id, name, folded, videos, first_seen_s, last_seen_s FROM person"
_FILTERED = "WHERE videos>0 AND folded>=:low AND folded<:high AND folded LIKE :pattern ESCAPE '\\'"
_BY_NAME = text(
    f"{_PERSON} {_FILTERED} AND (folded, name) > (:folded, :name)"
    " ORDER BY folded, name LIMIT :limit"
)
_BY_LAST_SEEN = text(
    f"{_PERSON} {_FILTERED} AND (last_seen_s, id) < (:last_seen_s, :id)"
    " ORDER BY last_seen_s DESC, id DESC LIMIT :limit"
)
_NAMES = text(f"SELECT name FROM person {_FILTERED}")
_SEEN = text("SELECT name FROM person WHERE videos>0 AND name IN :names").bindparams(
    bindparam("names", expanding=True)
)
_LETTERS = text("SELECT DISTINCT substr(folded, 1, 1) FROM person WHERE videos>0")
_BY_ID = text(f"{_PERSON} WHERE id=:id")
_WITH_NAME = text(f"{_PERSON} WHERE name=:name")
_ROWS_OF = text(f"{_PERSON} WHERE name IN :names").bindparams(bindparam("names", expanding=True))
# The newest appearance with a picture, for each person. Only a few appearances are looked at,
# because a person without any picture may have been seen in all videos.
_PICTURES = text(
    "SELECT p.id, a.video_id, a.number FROM person p JOIN appearance a ON a.id = ("
    " SELECT newest.id FROM ("
    "  SELECT id, video_id, uploaded_s FROM appearance WHERE person_id=p.id"
    "  ORDER BY uploaded_s DESC, video_id DESC LIMIT :newest) newest"
    " JOIN video v ON v.id=newest.video_id WHERE v.kept='pictures'"
    " ORDER BY newest.uploaded_s DESC, newest.video_id DESC LIMIT 1)"
    " WHERE p.id IN :ids"
).bindparams(bindparam("ids", expanding=True))
# SQLite cuts off the fraction of a second, and PostgreSQL rounds it, so the last half second of a
# day would belong to the next one. The quotient of two whole numbers is a whole number in both.
_SECOND = "CAST(uploaded_s AS bigint)"
_DAYS = text(
    f"SELECT ({_SECOND} - CASE WHEN {_SECOND} > uploaded_s THEN 1 ELSE 0 END) / {DAY_S} AS day,"
    " count(*) FROM appearance"
    " WHERE person_id=:id AND uploaded_s>=:since AND uploaded_s<:until GROUP BY 1"
)
# The rows of one page are chosen in the subquery, by the index alone. PostgreSQL would otherwise
# join all videos of the person first.
_APPEARANCES = text(
    "SELECT seen.video_id, seen.number, v.bucket, v.key, seen.uploaded_s, v.duration_s, v.kept,"
    " seen.certainty, seen.distance, seen.intervals"
    " FROM (SELECT * FROM appearance WHERE person_id=:id AND uploaded_s>=:since"
    "  AND (uploaded_s, video_id) < (:uploaded_s, :video_id)"
    "  ORDER BY uploaded_s DESC, video_id DESC LIMIT :limit) seen"
    " JOIN video v ON v.id=seen.video_id"
    " ORDER BY seen.uploaded_s DESC, seen.video_id DESC"
)


class PeopleQueries:
    """Reads the index. Every method may raise InboxUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_name(self, chosen: PeopleFilter, after: tuple[str, str], limit: int) -> list[PersonRow]:
        """People who were seen, in the order of their names. `after` is a folded name and a name,
        both empty for the beginning."""
        values = {**chosen.values(), "folded": after[0], "name": after[1], "limit": limit}
        return self._people(_BY_NAME, values)

    def by_last_seen(
        self, chosen: PeopleFilter, after: tuple[float, int] | None, limit: int
    ) -> list[PersonRow]:
        """People who were seen, those seen last first. `after` is a time and a person's id."""
        last_seen_s, person_id = after or (1e300, 0)
        values = {"last_seen_s": last_seen_s, "id": person_id, "limit": limit}
        return self._people(_BY_LAST_SEEN, chosen.values() | values)

    def person(self, person_id: int) -> PersonRow | None:
        return next(iter(self._people(_BY_ID, {"id": person_id})), None)

    def with_name(self, name: str) -> PersonRow | None:
        return next(iter(self._people(_WITH_NAME, {"name": name})), None)

    def rows_of(self, names: Sequence[str]) -> dict[str, PersonRow]:
        """The rows of those names that have one."""
        rows = self._people(_ROWS_OF, {"names": list(names)}) if names else []
        return {row.name: row for row in rows}

    def seen(self, names: Sequence[str]) -> set[str]:
        """Those of the names that were seen in a video."""
        if not names:
            return set()
        with self._database.reading() as connection:
            return set(connection.execute(_SEEN, {"names": list(names)}).scalars())

    def seen_names(self, chosen: PeopleFilter) -> set[str]:
        with self._database.reading() as connection:
            return set(connection.execute(_NAMES, chosen.values()).scalars())

    def letters(self) -> set[str]:
        """The first letters of all folded names."""
        with self._database.reading() as connection:
            return {str(letter) for letter in connection.execute(_LETTERS).scalars()}

    def pictures(self, person_ids: Sequence[int]) -> dict[int, FaceRef]:
        """A new appearance with a picture, for each person who has one."""
        if not person_ids:
            return {}
        values = {"ids": list(person_ids), "newest": NEWEST_WITH_PICTURE}
        with self._database.reading() as connection:
            rows = connection.execute(_PICTURES, values)
            return {person: FaceRef(video, number) for person, video, number in rows}

    def days(self, person_id: int, since_s: float, until_s: float) -> dict[int, int]:
        """The number of appearances on each day with one. A day is counted from 1970, in UTC."""
        values = {"id": person_id, "since": since_s, "until": until_s}
        with self._database.reading() as connection:
            return {int(day): int(count) for day, count in connection.execute(_DAYS, values)}

    def appearances(
        self,
        person_id: int,
        limit: int,
        before: tuple[float, int] | None = None,
        since_s: float = 0.0,
    ) -> list[PersonInVideo]:
        """The newest appearances; a person is in a video once. `before` is the time of the upload
        and the video of the last appearance on the previous page."""
        uploaded_s, video_id = before or (1e300, 0)
        values: dict[str, Any] = {"id": person_id, "limit": limit, "since": since_s}
        values |= {"uploaded_s": uploaded_s, "video_id": video_id}
        with self._database.reading() as connection:
            return [in_video(*row) for row in connection.execute(_APPEARANCES, values)]

    def _people(self, query: Any, values: dict[str, Any]) -> list[PersonRow]:
        with self._database.reading() as connection:
            return [
                PersonRow(name, row_id, videos, first_s, last_s, folded)
                for row_id, name, folded, videos, first_s, last_s in connection.execute(
                    query, values
                )
            ]


def in_video(
    video_id: int,
    number: int,
    bucket: str,
    key: str,
    uploaded_s: float,
    duration_s: float,
    kept: str,
    certainty: Certainty,
    distance: float | None,
    intervals: str,
) -> PersonInVideo:
    spans = tuple((float(start), float(end)) for start, end in json.loads(intervals or "[]"))
    face = FaceRef(video_id, number)
    has_picture = kept == "pictures"
    return PersonInVideo(
        face, bucket, key, uploaded_s, duration_s, has_picture, certainty, distance, spans
    )
