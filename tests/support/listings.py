"""The reconciler's listings for tests, in a database in memory."""

from __future__ import annotations

from rollcall.database.database import IN_MEMORY
from rollcall.queues.sql_listings import SqlListings
from support.databases import open_tables


def memory_listings() -> SqlListings:
    """Empty listings. They need not be closed."""
    return SqlListings(open_tables(IN_MEMORY))
