"""The tables of the index, the log of changes, and the queue of corrections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from alembic import op
from sqlalchemy import Connection, inspect

from rollcall.core.errors import SettingsError

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables. If this fails, the caller's transaction undoes all changes.

    Raises SettingsError if another program has a table with one of the names.
    """
    connection = op.get_bind()
    # Alembic loads this file by its path, so `__package__` does not name its folder.
    folder = files("rollcall.database.migrations.versions")
    text = folder.joinpath(f"revision_0002_{connection.dialect.name}.sql").read_text("utf-8")
    if _are_there(connection, dict(_columns(text))):
        return
    for statement in text.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement.strip())


def _are_there(connection: Connection, wanted: dict[str, set[str]]) -> bool:
    """Whether all tables exist already.

    pg_restore drops only the tables that the backup has. So after a backup of the version before
    was restored, these tables are still there.
    """
    found = inspect(connection)
    present = wanted.keys() & set(found.get_table_names())
    others = {
        name
        for name in present
        if {column["name"] for column in found.get_columns(name)} != wanted[name]
    }
    if present == wanted.keys() and not others:
        return True
    if present:
        raise SettingsError(
            f"the database has a table {min(others or present)} of another program, and this"
            " version of Rollcall needs a table of that name; move Rollcall's tables to a database"
            " of their own, and set DATABASE_URL to it"
        )
    return False


def _columns(text: str) -> Iterator[tuple[str, set[str]]]:
    """The tables that the statements create, and the names of their columns."""
    for name, body in re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", text, re.MULTILINE | re.DOTALL):
        yield name, set(re.findall(r'^\t"?([a-z]\w*)"? ', body, re.MULTILINE))
