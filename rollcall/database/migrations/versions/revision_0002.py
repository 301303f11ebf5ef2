"""The tables of the index, the log of changes, and the queue of corrections."""

from __future__ import annotations

import re
from importlib.resources import files

from alembic import op
from sqlalchemy import inspect

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
    names = set(re.findall(r"^CREATE TABLE (\w+)", text, re.MULTILINE))
    if others := sorted(names & set(inspect(connection).get_table_names())):
        raise SettingsError(
            f"the database has a table {others[0]} of another program, and this version of Rollcall"
            " needs a table of that name; move Rollcall's tables to a database of their own, and"
            " set DATABASE_URL to it"
        )
    for statement in text.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement.strip())
