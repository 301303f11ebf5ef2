"""Read the work in the database of triggers that run in other processes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg

from rollcall.core.settings import SQLITE_URL


class Row(NamedTuple):
    """One item of work, as the database stores it."""

    id: int
    identity: str
    key: str
    etag: str
    origin: str
    state: str
    attempts: int
    calls: int
    code: str
    message: str
    received_s: float
    changed_s: float


_COLUMNS = ", ".join(Row._fields)
_TABLES = ("work", "finished")


def sqlite_file(values: Mapping[str, str]) -> Path:
    """The file of the SQLite database in these settings."""
    return Path(values["DATABASE_URL"].removeprefix(SQLITE_URL))


def read_rows(url: str, prefix: str) -> list[Row]:
    """Return the work on keys with this prefix; none if there are no tables yet.

    One query reads both tables, because work moves from one to the other. Raises psycopg.Error.
    """
    like = "WHERE substr(key, 1, ?)=?"
    query = " UNION ALL ".join(f"SELECT {_COLUMNS} FROM {table} {like}" for table in _TABLES)
    values = (len(prefix), prefix) * len(_TABLES)
    if url.startswith(SQLITE_URL):
        path = Path(url.removeprefix(SQLITE_URL))
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=30)) as db:
            return [Row(*row) for row in db.execute(query, values)]
    with psycopg.connect(url, connect_timeout=5) as connection:
        # Another sort order than by bytes does not matter here: `substr` counts characters.
        try:
            rows = connection.execute(query.replace("?", "%s"), values).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
    return [Row(*row) for row in rows]
