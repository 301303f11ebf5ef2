"""Versions of rows, so that a copy of a table in memory can follow the table.

Every change gives its row a version that is larger than all others. A copy reads the rows whose
version is larger than the last one that it has seen.
"""

from __future__ import annotations

from sqlalchemy import Connection, Table, func, select, text

from rollcall.database.database import Database

LOCKS = {"face_block": 0x726F6C6C66616365, "unknown_group": 0x726F6C6C67726F75}
"""Keys of the advisory locks of PostgreSQL: `rollface` and `rollgrou`."""

_LOCK = text("SELECT pg_advisory_xact_lock(:key)")


def lock_versions(database: Database, connection: Connection, table: Table) -> int:
    """Wait for other writers of the table, and return the version for this transaction.

    The lock ends with the transaction. So a transaction with a larger version also commits later,
    and no reader can miss a version. SQLite has one writer at a time anyway.
    """
    if database.shared:
        connection.execute(_LOCK, {"key": LOCKS[table.name]})
    newest = connection.execute(select(func.max(table.c.version))).scalar_one() or 0
    # The time makes versions grow even after the table was emptied.
    return max(newest + 1, int(database.now_s(connection) * 1e6))
