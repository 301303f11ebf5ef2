"""Walks through the index, from the newest upload backwards, for the list of videos.

A walk reads candidates from one database index only. Filters that need the rows of the videos are
applied afterwards, to growing portions of candidates, until the page is full. So no planner can
choose to join and sort large tables. If a filter accepts few videos, the walk ends early, and
returns the place where it ended, so that it takes a limited time (decision 0150).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, TextClause, text

from rollcall.database.json_rows import ids_sql, ids_value
from rollcall.index.sql_index import folded
from rollcall.index.video_filter import BOTTOM, TOP, Place, VideoFilter

MAX_WALKED = 100_000
"""Videos whose keys are compared with the words of a search for one page."""

MAX_FILTERED = 10_000
"""Candidates whose rows are read for one page."""

MAX_PORTION = 2_500
"""Candidates whose rows are read by one statement."""

MAX_PEOPLE_FOUND = 10
"""People whose names match a search. Those who were seen last come first."""

_V, _A = ("v.uploaded_s", "v.id"), ("a.uploaded_s", "a.video_id")


class Walk:
    """Walks all videos (`person_id` is None), or the appearances of one person."""

    def __init__(
        self, wanted: VideoFilter, person_id: int | None, words: Sequence[str], found: Sequence[int]
    ) -> None:
        self._wanted = wanted
        self._person_id = person_id
        self._words = words
        self._found = found
        """People whose names match the words."""
        by_person = person_id is not None
        self._time, self._id = _A if by_person else _V
        self._filters: list[str] = []
        if by_person:
            # A person with a name is only in recognised videos, so the status needs no condition.
            self._own = ["a.person_id=:person_id"]
            self._filters = _states(wanted)[bool(wanted.status) :]
        elif words:
            # The index of the times has the key, too.
            self._own, self._filters = _key_has(words), _states(wanted)
        else:
            self._own, self._filters = _states(wanted, "")[:1], _states(wanted)[1:]
        if by_person and words:
            self._filters = [*self._filters, _matches(words, found)]

    def find(
        self, connection: Connection, shared: bool, before: Place, limit: int, budget: int
    ) -> tuple[list[Place], Place | None]:
        """At most `limit` places, and where the walk ended too early; None if it did not."""
        found: list[Place] = []
        walked, portion = 0, min(4 * limit, budget) if self._filters else limit
        end = self._end(connection, before) if self._words and self._person_id is None else None
        while len(found) < limit:
            places = self._places(connection, before, end or BOTTOM, portion)
            found += self._filtered(connection, shared, places)
            walked += len(places)
            if len(places) < portion:
                return found[:limit], end
            before = places[-1]
            if walked >= budget:
                return found[:limit], before
            portion = min(4 * portion, MAX_PORTION)
        return found[:limit], None

    def values(self, before: Place = TOP, end: Place = BOTTOM) -> dict[str, Any]:
        """The parameters of all conditions."""
        wanted = self._wanted
        words = {f"w{number}": like(_small(word)) for number, word in enumerate(self._words)}
        return {
            "s": before.uploaded_s,
            "id": before.id,
            "end_s": end.uploaded_s,
            "end_id": end.id,
            "since_s": wanted.since_s,
            "until_s": wanted.until_s,
            "status": wanted.status,
            "person_id": self._person_id,
            **words,
        }

    def _places(self, connection: Connection, before: Place, end: Place, limit: int) -> list[Place]:
        values = {**self.values(before, end), "limit": limit}
        query = self._query([*self._times(), *self._own], "LIMIT :limit")
        return [Place(*row) for row in connection.execute(query, values)]

    def _end(self, connection: Connection, before: Place) -> Place | None:
        """The place after MAX_WALKED videos; None if there are not so many."""
        values = {**self.values(before), "walked": MAX_WALKED - 1}
        rows = connection.execute(
            self._query(self._times(), "LIMIT 2 OFFSET :walked"), values
        ).all()
        return Place(*rows[0]) if len(rows) == 2 else None

    def _times(self) -> list[str]:
        time, id_, wanted = self._time, self._id, self._wanted
        since = [] if wanted.since_s is None else [f"{time}>=:since_s"]
        until = [] if wanted.until_s is None else [f"{time}<:until_s"]
        between = [f"({time}, {id_})<(:s, :id)", f"({time}, {id_})>=(:end_s, :end_id)"]
        return [*between, *since, *until]

    def _query(self, conditions: Sequence[str], limit: str) -> TextClause:
        table = "video v" if self._person_id is None else "appearance a"
        return text(
            f"SELECT {self._time}, {self._id} FROM {table} WHERE {' AND '.join(conditions)}"
            f" ORDER BY {self._time} DESC, {self._id} DESC {limit}"
        )

    def _filtered(self, connection: Connection, shared: bool, places: list[Place]) -> list[Place]:
        """Those of the places that the filters accept."""
        if not self._filters or not places:
            return places
        conditions = " AND ".join([f"v.id IN {ids_sql(shared)}", *self._filters])
        values = {**self.values(), "ids": ids_value(shared, [place.id for place in places])}
        query = text(f"SELECT v.id FROM video v WHERE {conditions}")
        ids = set(connection.execute(query, values).scalars())
        return [place for place in places if place.id in ids]


def walks_for(connection: Connection, wanted: VideoFilter) -> list[Walk]:
    """The walks whose places together are the videos that the filter accepts."""
    words = wanted.word_list
    people = people_found(connection, wanted)
    if wanted.person_id is not None:
        # Words that match the name of the wanted person accept all videos of the person.
        needed = [] if wanted.person_id in people else words
        return [Walk(wanted, wanted.person_id, needed, people)]
    return [Walk(wanted, None, words, people), *(Walk(wanted, id_, (), ()) for id_ in people)]


def people_found(connection: Connection, wanted: VideoFilter) -> list[int]:
    """The people in whose names all words are."""
    words = wanted.word_list
    # Only a recognised video shows somebody with a name.
    if not words or wanted.status not in ("", "recognised"):
        return []
    patterns = {f"w{number}": like(folded(word)) for number, word in enumerate(words)}
    query = people_query(len(words), "id")
    return list(connection.execute(query, {**patterns, "limit": MAX_PEOPLE_FOUND}).scalars())


def people_query(words: int, column: str) -> TextClause:
    """Selects people whose folded names match the patterns `w0`, `w1`, ..."""
    matches = " AND ".join(rf"folded LIKE :w{number} ESCAPE '\'" for number in range(words))
    return text(
        f"SELECT {column} FROM person WHERE videos>0 AND {matches}"
        " ORDER BY last_seen_s DESC, id DESC LIMIT :limit"
    )


def row_conditions(wanted: VideoFilter, found: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """The filter as a condition of the row `v`, and its parameters. `found` are `people_found`."""
    parts = _states(wanted)
    if wanted.since_s is not None:
        parts.append("v.uploaded_s>=:since_s")
    if wanted.until_s is not None:
        parts.append("v.uploaded_s<:until_s")
    if wanted.person_id is not None:
        parts.append(_seen(":person_id"))
    if words := wanted.word_list:
        parts.append(_matches(words, found))
    values = Walk(wanted, wanted.person_id, wanted.word_list, found).values()
    return " AND ".join(parts or ["true"]), values


def _states(wanted: VideoFilter, unindexed: str = " || ''") -> list[str]:
    """The conditions on status and unknown people.

    `unindexed` keeps the database from using an index of the column, where only a few rows are
    looked at, which the query names by their ids.
    """
    status = [f"v.status{unindexed}=:status"] if wanted.status else []
    with_unknown = wanted.with_unknown and wanted.status != "unknown"
    zero = " + 0" if unindexed else ""
    return status + ([f"v.unknown{zero}>0"] if with_unknown else [])


def _key_has(words: Sequence[str]) -> list[str]:
    return [rf"lower(v.key) LIKE :w{number} ESCAPE '\'" for number in range(len(words))]


def _matches(words: Sequence[str], found: Sequence[int]) -> str:
    """The key has all words, or one of the people who were found by their names is there."""
    key = " AND ".join(_key_has(words))
    people = [f" OR {_seen(str(int(id_)))}" for id_ in found]
    return f"({key}{''.join(people)})"


def _seen(person_id: str) -> str:
    return (
        f"EXISTS (SELECT 1 FROM appearance b WHERE b.person_id={person_id}"
        " AND b.uploaded_s=v.uploaded_s AND b.video_id=v.id)"
    )


def like(word: str) -> str:
    """A LIKE pattern for texts that contain the word."""
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _small(word: str) -> str:
    """The word with A to Z in lower case, as both databases change the keys."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in word)
