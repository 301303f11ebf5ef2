"""The tables of the first version with a database URL, with the data of an earlier inbox.

Earlier versions had an SQLite file with two tables: `work` for work in all states, and `bad_event`.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from alembic import op
from sqlalchemy import Connection

revision = "0001"
down_revision = None

_FACTS = (
    "id, identity, bucket, key, version_id, etag, event_name, uploaded_s, origin, state, attempts,"
    " calls, received_s, changed_s, code, message"
)
_NEW_LAYOUT = "due_s, lease_until_s, stage, prefix, turn"
# Work of the earliest files rests until it is due, and then joins the line.
_EARLIEST_LAYOUT = "due_s, lease_until_s, 0, substr(key, 1, instr(key, '/')), 0"

_MAX_INDEXED_BYTES = 512

_ENDED = "state IN ('done', 'dead')"


def upgrade() -> None:
    """Create the tables. If this fails, the caller's transaction undoes all changes."""
    connection = op.get_bind()
    statements = _statements(connection.dialect.name)
    is_inbox = connection.dialect.name == "sqlite" and bool(_columns(connection, "work"))
    if is_inbox:
        _set_aside(connection)
    for statement in statements:
        if statement.startswith("CREATE TABLE"):
            connection.exec_driver_sql(statement)
    if is_inbox:
        _take_over(connection)
    for statement in statements:
        # Building an index after its table is filled is faster than maintaining it.
        if not statement.startswith("CREATE TABLE"):
            connection.exec_driver_sql(statement)


def _statements(dialect: str) -> list[str]:
    # Alembic loads this file by its path, so `__package__` does not name its folder.
    folder = files("rollcall.database.migrations.versions")
    text = folder.joinpath(f"revision_0001_{dialect}.sql").read_text("utf-8")
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


def _columns(connection: Connection, table: str) -> set[str]:
    return {row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table})")}


def _set_aside(connection: Connection) -> None:
    """Rename the old tables, and drop their indexes, because the new ones have the same names."""
    for table in ("work", "bad_event"):
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO old_{table}")
    indexes = connection.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE type='index' AND sql IS NOT NULL"
        " AND tbl_name IN ('old_work', 'old_bad_event')"
    )
    for (name,) in indexes.fetchall():
        connection.exec_driver_sql(f'DROP INDEX "{name}"')


def _indexed(column: str) -> str:
    """The column as the new tables index it: texts that are too long are replaced by a digest."""
    is_short = f"length(CAST({column} AS BLOB)) <= {_MAX_INDEXED_BYTES}"
    return f"CASE WHEN {is_short} THEN {column} ELSE digest_of({column}) END"


def _digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _take_over(connection: Connection) -> None:
    sqlite: Any = connection.connection.driver_connection
    sqlite.create_function("digest_of", 1, _digest, deterministic=True)
    has_stages = "stage" in _columns(connection, "old_work")
    layout = _NEW_LAYOUT if has_stages else _EARLIEST_LAYOUT
    for statement in (
        # In the order of the new table's index, so that its pages are filled one after the other.
        f"INSERT INTO seen_event (identity) SELECT {_indexed('identity')} FROM old_work"
        " ORDER BY identity",
        f"INSERT INTO work ({_FACTS}, {_NEW_LAYOUT})"
        f" SELECT {_FACTS}, {layout} FROM old_work WHERE NOT {_ENDED} ORDER BY id",
        f"INSERT INTO finished ({_FACTS}) SELECT {_FACTS} FROM old_work WHERE {_ENDED} ORDER BY id",
        "INSERT INTO found_upload (bucket, key, etag, uploaded_s, found_s)"
        f" SELECT bucket, key, {_indexed('etag')}, uploaded_s, received_s FROM old_work"
        " WHERE origin='reconcile' ORDER BY id",
        "INSERT INTO bad_event (id, received_s, reason, body)"
        " SELECT id, received_s, reason, body FROM old_bad_event ORDER BY id",
        "INSERT INTO tally (slot, state, code, count)"
        f" SELECT 0, state, CASE WHEN {_ENDED} THEN code ELSE '' END AS its_code, count(*)"
        " FROM old_work GROUP BY state, its_code",
        "INSERT INTO tally (slot, state, code, count)"
        " SELECT 0, 'bad', '', count(*) FROM old_bad_event HAVING count(*) > 0",
        # New work must not get the id of finished work.
        "DELETE FROM sqlite_sequence WHERE name='work'",
        "INSERT INTO sqlite_sequence (name, seq)"
        " SELECT 'work', max(id) FROM old_work HAVING max(id) IS NOT NULL",
        # Early versions ended work without releasing the next work for the same object. So the
        # oldest waiting work of each object becomes due. If other work is really ahead of it, it
        # waits again.
        "UPDATE work SET stage=0, due_s=received_s WHERE id IN"
        " (SELECT min(id) FROM work WHERE state='queued' AND stage=2 GROUP BY bucket, key)",
        "DROP TABLE old_work",
        "DROP TABLE old_bad_event",
    ):
        connection.exec_driver_sql(statement)
