"""What other connections do in a PostgreSQL database."""

from __future__ import annotations

from sqlalchemy import text

from rollcall.database.database import Database

# Prepared transactions have no connection any more, but keep rows alive all the same. The server
# hides when transactions of other users began, unless our user has the role pg_read_all_stats.
_OLDEST = text(
    "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(began)), 0)::double precision"
    " FROM (SELECT xact_start AS began FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " UNION ALL SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()) AS open"
)


def oldest_transaction_s(database: Database) -> float:
    """The age in seconds of the oldest open transaction in this PostgreSQL database; 0 if none.

    PostgreSQL keeps deleted rows as long as an older transaction could read them, and every claim
    has to pass them. So one forgotten transaction makes the work queue slow. Raises
    InboxUnavailable.
    """
    with database.reading() as connection:
        age_s: float = connection.execute(_OLDEST).scalar_one()
    return max(0.0, age_s)
