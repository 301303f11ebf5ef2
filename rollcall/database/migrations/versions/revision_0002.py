"""The tables of the index, the log of changes, and the queue of corrections."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables. If this fails, the caller's transaction undoes all changes."""
    connection = op.get_bind()
    # Alembic loads this file by its path, so `__package__` does not name its folder.
    folder = files("rollcall.database.migrations.versions")
    text = folder.joinpath(f"revision_0002_{connection.dialect.name}.sql").read_text("utf-8")
    for statement in text.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement.strip())
