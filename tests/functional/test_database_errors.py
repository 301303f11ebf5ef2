"""What errors of the database say: the cause, and nothing of the rows."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from support.databases import open_tables

from rollcall.core.errors import InboxUnavailable
from rollcall.core.settings import SQLITE_URL
from rollcall.database.database import Database, is_about_data

NAME = "Ada Lovelace"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    shared = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if shared else f"{SQLITE_URL}{tmp_path}/i.sqlite3"
    with closing(open_tables(url)) as opened:
        yield opened


def put_person(connection: Connection) -> None:
    row = {"name": NAME, "encoding": b"encoding of a face"}
    connection.execute(text("INSERT INTO no_table VALUES (:name, :encoding)"), row)


def test_no_values_are_in_the_traceback(database: Database) -> None:
    # A traceback is logged with its causes, for example if a result cannot be stored.
    with pytest.raises(InboxUnavailable, match="no_table") as caught:
        database.run(put_person)
    lines = "".join(traceback.format_exception(caught.value))
    assert "INSERT INTO no_table" in lines
    assert NAME not in lines
    assert "encoding of" not in lines


def test_no_row_that_is_refused_is_in_the_traceback(database: Database) -> None:
    def put_twice(connection: Connection) -> None:
        for _ in range(2):
            row = {"name": NAME}
            connection.execute(text("INSERT INTO person (name, folded) VALUES (:name, 'a')"), row)

    with pytest.raises(InboxUnavailable, match=r"(?i)unique") as caught:
        database.run(put_twice)
    lines = "".join(traceback.format_exception(caught.value))
    assert "INSERT INTO person" in lines
    assert NAME not in lines
    assert is_about_data(caught.value)
