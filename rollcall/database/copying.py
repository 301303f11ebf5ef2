"""Copies all tables from one database to another, for example from SQLite to PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text

from rollcall.core.errors import PermanentError
from rollcall.database.database import Database
from rollcall.database.tables import metadata

BATCH = 1000
"""Rows of one INSERT."""


class NotEmpty(PermanentError):
    """The target database of a copy already has rows."""


def copy_tables(
    source: Database, target: Database, on_rows: Callable[[int], None] = lambda count: None
) -> dict[str, int]:
    """Copy all rows, in one transaction of each database. Return the number of rows by table.

    `on_rows` is called with the number of rows copied since its last call. Both databases have all
    tables already. Raises NotEmpty, and InboxUnavailable.
    """
    counts = {}
    with source.reading() as read, target.transaction() as write:
        if not source.shared:
            read.exec_driver_sql("BEGIN")  # one snapshot for all tables
        for database, connection in ((source, read), (target, write)):
            if database.shared:
                _remove_limits(connection)
        _check_empty(write, target)
        for table in metadata.sorted_tables:
            counts[table.name] = _copy(read, write, table, on_rows)
        _set_next_ids(write, target, counts)
        if not source.shared:
            read.exec_driver_sql("COMMIT")
    return counts


def _remove_limits(connection: Connection) -> None:
    # Each database waits while the other one works.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _check_empty(write: Connection, target: Database) -> None:
    for table in metadata.sorted_tables:
        if write.execute(select(table).limit(1)).first() is not None:
            raise NotEmpty(
                f"the database {target.name} has rows in the table {table.name} already;"
                " create a new database for the copy"
            )


def _copy(read: Connection, write: Connection, table: Table, on_rows: Callable[[int], None]) -> int:
    count = 0
    found = read.execute(select(table), execution_options={"yield_per": BATCH})
    rows = iter(found.mappings())
    storable = _storable(rows)
    while batch := list(islice(storable, BATCH)):
        write.execute(insert(table), batch)
        count += len(batch)
        on_rows(len(batch))
    return count


def _storable(rows: Iterator[Any]) -> Iterator[Mapping[str, Any]]:
    """The rows, with NUL characters replaced, which PostgreSQL cannot store."""
    for row in rows:
        yield {
            name: value.replace("\x00", "\ufffd") if isinstance(value, str) else value
            for name, value in row.items()
        }


def _set_next_ids(write: Connection, target: Database, counts: Mapping[str, int]) -> None:
    """Make the ids of new rows larger than those of copied rows, including those in `finished`."""
    for table in metadata.sorted_tables:
        if "id" not in table.c or table.name == "finished" or table.name not in counts:
            continue
        last = write.execute(select(func.max(table.c.id))).scalar() or 0
        if table.name == "work":
            finished = metadata.tables["finished"]
            last = max(last, write.execute(select(func.max(finished.c.id))).scalar() or 0)
        if not last:
            continue
        if target.shared:
            write.execute(
                text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"),
                {"name": table.name, "last": last},
            )
        elif table.name == "work":
            write.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name='work'")
            write.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES ('work', :last)"),
                {"last": last},
            )
