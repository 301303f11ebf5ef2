"""Read the inbox of a trigger that runs in another process."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from rollcall.core.settings import SQLITE_URL


class Row(NamedTuple):
    """One item of work, as the inbox stores it."""

    id: int
    key: str
    etag: str
    origin: str
    state: str
    attempts: int
    calls: int
    code: str
    message: str
    changed_s: float


def sqlite_file(values: Mapping[str, str]) -> Path:
    """The file of the SQLite database in these settings."""
    return Path(values["DATABASE_URL"].removeprefix(SQLITE_URL))


def read_rows(path: Path, prefix: str) -> list[Row]:
    """Return the work on keys with this prefix; none if the file does not exist."""
    if not path.exists():
        return []
    fields = ", ".join(Row._fields)
    query = (
        f"SELECT * FROM (SELECT {fields} FROM work UNION ALL SELECT {fields} FROM finished)"
        " WHERE substr(key, 1, ?)=? ORDER BY id"
    )
    with closing(sqlite3.connect(path, timeout=30)) as db:
        return [Row(*row) for row in db.execute(query, (len(prefix), prefix))]
