"""Databases with all tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rollcall.core.settings import SQLITE_URL
from rollcall.database.database import Database
from rollcall.database.open_database import prepare


def open_tables(url: str, clock: Callable[[], float] | None = None) -> Database:
    """Open the database, and create its tables if they are missing."""
    database = Database(url, clock)
    try:
        prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def open_file(path: Path, clock: Callable[[], float] | None = None) -> Database:
    """Open an SQLite database, and create its tables if they are missing."""
    return open_tables(f"{SQLITE_URL}{path}", clock)
