"""Queries of the navigation and the first page: counts, lags, and the latest results.

They run every few seconds, so no query reads more than the rows of one day or hour.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from rollcall.core.index_types import Appearance
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, unknown_group, video

SLOT_S = 180
"""Length of the times for which lags are averaged."""

MAX_PEOPLE = 12
"""People of a video whose intervals are read for its strip."""

# As in the trigger's metric: a rerun is asked for long after the upload, so it counts from then on.
_LAG = (
    "changed_s - CASE WHEN uploaded_s > 0 AND origin <> 'rerun' THEN uploaded_s ELSE received_s END"
)
_RECOGNISED = "state='done' AND code IN ('recognised', 'unknown', 'no_face')"


class Lag(NamedTuple):
    """Times from upload to result, of videos that were recognised within SLOT_S seconds."""

    slot: int
    """The Unix time of the results, divided by SLOT_S."""
    mean_s: float
    longest_s: float


class LastResult(NamedTuple):
    """The video that was recognised last."""

    at_s: float
    lag_s: float


@dataclass(frozen=True, slots=True)
class LatestVideo:
    """A row of the index, as the list on the first page shows it."""

    id: int
    bucket: str
    key: str
    status: str
    error_code: str
    error_message: str
    finished_s: float
    duration_s: float
    named: int
    unknown: int
    coverage: str
    """JSON; empty if it is not known."""
    people: tuple[Appearance, ...]
    """At most MAX_PEOPLE."""


def unknown_groups(database: Database, limit: int) -> int:
    """The number of groups of unknown faces; counting stops at `limit`.

    A verdict that faces are one person may have a group of its own before it has any faces.
    """
    some = select(unknown_group.c.id).where(unknown_group.c.appearances > 0).limit(limit).subquery()
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


_LAGS = text(
    f"SELECT CAST(changed_s AS BIGINT) / {SLOT_S} AS slot, avg({_LAG}), max({_LAG}) FROM finished"
    f" WHERE changed_s >= :since_s AND {_RECOGNISED} GROUP BY slot ORDER BY slot"
)


def lags(database: Database, since_s: float) -> list[Lag]:
    """The lags since a time, oldest first, without times in which no video was recognised."""
    with database.reading() as connection:
        rows = connection.execute(_LAGS, {"since_s": since_s})
        # The clocks of the store and of this machine may differ.
        return [Lag(int(slot), max(0.0, mean), max(0.0, top)) for slot, mean, top in rows]


_LAST = text(
    f"SELECT changed_s, {_LAG} FROM finished WHERE {_RECOGNISED}"
    " ORDER BY changed_s DESC, id DESC LIMIT 1"
)


def last_result(database: Database) -> LastResult | None:
    """The last result of the work queue."""
    with database.reading() as connection:
        row = connection.execute(_LAST).first()
    return LastResult(row[0], max(0.0, row[1])) if row else None


# For `bucket=''`, SQLite would read all files there are, every second, and not those of the time.
_FILES = (
    "SELECT count(*) FROM video WHERE finished_s >= :since_s AND finished_s < :until_s"
    " AND bucket || '' = '' AND status"
)
# The work queue knows nothing of files that `rollcall recognise --index` has looked at.
_DONE = text(
    "SELECT (SELECT count(*) FROM finished"
    " WHERE changed_s >= :since_s AND changed_s < :until_s AND state='done')"
    f" + ({_FILES} <> 'error')"
)
_FAILED_FILES = text(f"{_FILES} = 'error'")


def count_done(database: Database, since_s: float, until_s: float) -> int:
    """The number of videos that were done in a time, which should be a day at most."""
    with database.reading() as connection:
        times = {"since_s": since_s, "until_s": until_s}
        return int(connection.execute(_DONE, times).scalar_one())


def count_failed_files(database: Database, since_s: float, until_s: float) -> int:
    """The number of files that could not be recognised in a time, which should be a day at most."""
    with database.reading() as connection:
        times = {"since_s": since_s, "until_s": until_s}
        return int(connection.execute(_FAILED_FILES, times).scalar_one())


def latest_videos(database: Database, limit: int) -> list[LatestVideo]:
    """The videos that were recognised, or failed, last; newest first."""
    columns = [video.c[each.name] for each in fields(LatestVideo) if each.name != "people"]
    newest = (video.c.finished_s.desc(), video.c.id.desc())
    query = select(*columns).order_by(*newest).limit(limit)
    with database.reading() as connection:
        rows = connection.execute(query).all()
        people = _people(connection, [row.id for row in rows])
    return [LatestVideo(*(*row, tuple(people[row.id]))) for row in rows]


def _people(connection: Connection, ids: list[int]) -> dict[int, list[Appearance]]:
    a = appearance.c
    query = (
        select(a.video_id, a.number, person.c.name, a.first_s, a.last_s, a.frames, a.intervals)
        .outerjoin(person, person.c.id == a.person_id)
        .where(a.video_id.in_(ids), a.number < MAX_PEOPLE)
        .order_by(a.video_id, a.number)
    )
    found = defaultdict[int, list[Appearance]](list)
    for video_id, number, name, first_s, last_s, frames, intervals in connection.execute(query):
        times = tuple((start_s, end_s) for start_s, end_s in json.loads(intervals or "[]"))
        found[video_id].append(
            Appearance(number, name or "", first_s, last_s, frames, None, intervals=times)
        )
    return found
