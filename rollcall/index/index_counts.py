"""Counts the rows of the index."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import text

from rollcall.database.database import Database

_STATUSES = text("SELECT status, count(*) FROM video GROUP BY status ORDER BY 2 DESC, 1")
_COUNTS = text(
    "SELECT (SELECT count(*) FROM person), (SELECT count(*) FROM appearance),"
    " (SELECT COALESCE(sum(rows), 0) FROM face_block),"
    " (SELECT count(*) FROM unknown_group WHERE appearances > 0),"
    " (SELECT count(*) FROM unindexed), (SELECT max(finished_s) FROM video)"
)


class IndexCounts(NamedTuple):
    """The numbers of rows."""

    videos: dict[str, int]
    """By status, the most frequent first."""
    people: int
    appearances: int
    encodings: int
    """Stored encodings of faces."""
    groups: int
    """Groups of unknown faces."""
    unindexed: int
    """Results that are not in the index yet."""
    newest_s: float | None
    """When the newest result was made; None if the index is empty."""


def index_counts(database: Database) -> IndexCounts:
    """Count all rows, which takes a second for millions of them. Raises InboxUnavailable."""
    with database.reading() as connection:
        videos = {status: int(count) for status, count in connection.execute(_STATUSES)}
        people, appearances, encodings, groups, unindexed, newest_s = connection.execute(
            _COUNTS
        ).one()
    return IndexCounts(videos, people, appearances, int(encodings), groups, unindexed, newest_s)
