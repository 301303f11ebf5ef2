"""What the navigation and the first page read: counts, and the latest results.

No query counts the rows of a large table, because these pages are asked for every few seconds.
"""

from __future__ import annotations

from sqlalchemy import func, select

from rollcall.database.database import Database
from rollcall.database.index_tables import unknown_group


def unknown_groups(database: Database, limit: int) -> int:
    """The number of groups of unknown people; counting stops at `limit`."""
    some = select(unknown_group.c.id).limit(limit).subquery()
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(some)).scalar_one())
