"""Alembic runs this file for each command. The connection is in a transaction already."""

from __future__ import annotations

from alembic import context

from rollcall.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # In SQLite, ALTER TABLE can do little, so Alembic copies the table instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
