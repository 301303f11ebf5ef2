"""Keeps encodings that were removed from the gallery for a while, so that they can come back."""

from __future__ import annotations

import json

import numpy as np
from sqlalchemy import Connection, delete, insert, select

from rollcall.core.errors import PermanentError
from rollcall.corrections.gallery_edits import RemovedExample
from rollcall.database.database import Database
from rollcall.database.index_tables import removed_example as table
from rollcall.gallery.gallery_lines import example_document, example_of

KEEP_S = 30 * 86400.0
"""How long a removed encoding can be brought back."""


def store_removed(
    connection: Connection, now_s: float, change_id: int, removed: RemovedExample
) -> None:
    facts = {"name": removed.name, "example": example_document(removed.example)}
    row = {
        "change_id": change_id,
        "place": removed.place,
        "facts": json.dumps(facts),
        "encoding": np.asarray(removed.encoding, "<f8").tobytes(),
        "at_s": now_s,
    }
    connection.execute(insert(table).values(row))


def load_removed(database: Database, change_id: int) -> RemovedExample:
    """The encoding that the change removed. Raises PermanentError if it is deleted by now."""
    with database.reading() as connection:
        row = connection.execute(select(table).where(table.c.change_id == change_id)).first()
    if row is None:
        raise PermanentError(
            f"a removed photo can be brought back for {KEEP_S / 86400:.0f} days; enrol the photo"
            " again"
        )
    facts = json.loads(row.facts)
    encoding = np.frombuffer(row.encoding, "<f8")
    return RemovedExample(row.place, facts["name"], example_of(facts["example"]), encoding)


def prune_removed(connection: Connection, now_s: float) -> int:
    """Delete the encodings that nobody has brought back in time."""
    old = delete(table).where(table.c.at_s < now_s - KEEP_S)
    return connection.execute(old).rowcount


def forget_removed(connection: Connection, name: str) -> int:
    """Delete the encodings of a person, and return their number."""
    rows = connection.execute(select(table.c.change_id, table.c.facts))
    ids = [row.change_id for row in rows if json.loads(row.facts)["name"] == name]
    for change_id in ids:
        connection.execute(delete(table).where(table.c.change_id == change_id))
    return len(ids)
