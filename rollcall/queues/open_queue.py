"""The choice of the work queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text

from rollcall.core.errors import SettingsError
from rollcall.core.protocols import WorkQueue
from rollcall.core.settings import SQLITE_URL, Settings
from rollcall.database.database import Database
from rollcall.database.tables import metadata
from rollcall.queues.sql_queue import SqlQueue

_LOCK = text("SELECT pg_advisory_xact_lock(7265)")
"""Only one trigger at a time may create the tables."""


def open_queue(settings: Settings, *, must_exist: bool = False) -> WorkQueue:
    """Open the work queue that the settings name. The caller has to close it.

    A file that does not exist is created; with `must_exist`, SettingsError is raised instead.
    Raises InboxUnavailable if the queue cannot be opened.
    """
    url = settings.database_url
    path = Path(url.removeprefix(SQLITE_URL))
    if must_exist and url.startswith(SQLITE_URL) and not path.is_file():
        raise SettingsError(
            f"there is no file {str(path)!r}; set DATABASE_URL to the same database as the trigger"
        )
    return SqlQueue(open_tables(url))


def open_tables(url: str, clock: Callable[[], float] | None = None) -> Database:
    """Open a database, and create its tables if they are missing."""
    database = Database(url, clock)
    try:
        with database.transaction() as connection:
            if database.shared:
                connection.execute(_LOCK)
            metadata.create_all(connection)
    except BaseException:
        database.close()
        raise
    return database


def open_file(path: Path, clock: Callable[[], float] | None = None) -> Database:
    """Open an SQLite database, and create its tables if they are missing."""
    return open_tables(f"{SQLITE_URL}{path}", clock)
