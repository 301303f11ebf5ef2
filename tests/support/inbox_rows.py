"""What lies in the file of an inbox that another process works on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One piece of work, as it lies in the inbox's file."""

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


def read_rows(path: Path, prefix: str) -> list[Row]:
    """The work on keys with this prefix; none while there is no file."""
    if not path.exists():
        return []
    query = f"SELECT {', '.join(Row._fields)} FROM work WHERE substr(key, 1, ?)=?"
    with closing(sqlite3.connect(path, timeout=30)) as db:
        return [Row(*row) for row in db.execute(query, (len(prefix), prefix))]
