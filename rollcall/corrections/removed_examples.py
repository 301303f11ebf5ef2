"""Keeps encodings that were removed from the gallery for a while, so that they can come back."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
from sqlalchemy import Connection, delete, insert, select

from rollcall.core.errors import GalleryMissing, PermanentError
from rollcall.core.protocols import GalleryLocation
from rollcall.corrections.gallery_edits import RemovedExample
from rollcall.database.database import Database
from rollcall.database.index_tables import removed_example as table
from rollcall.gallery.enrolled_pictures import delete_pictures
from rollcall.gallery.gallery_lines import (
    VerdictHead,
    example_document,
    example_of,
    head_document,
)
from rollcall.gallery.gallery_locations import read_gallery

KEEP_S = 30 * 86400.0
"""How long a removed encoding can be brought back."""


def store_removed(
    connection: Connection, now_s: float, change_id: int, removed: RemovedExample
) -> None:
    verdict = removed.verdict and head_document(removed.verdict)
    example = example_document(removed.example)
    facts = {"name": removed.name, "example": example, "verdict": verdict}
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
    example, encoding = example_of(facts["example"]), np.frombuffer(row.encoding, "<f8")
    verdict = None
    if head := facts.get("verdict"):  # rows of older versions do not have it
        verdict = VerdictHead(head).verdict(encoding[None], [example.source])
    return RemovedExample(row.place, facts["name"], example, encoding, verdict)


def prune_removed(database: Database, location: GalleryLocation) -> None:
    """Delete the encodings that nobody has brought back in time, and their pictures.

    Raises GalleryError and a TransientError.
    """
    with database.reading() as connection:
        old_s = database.now_s(connection) - KEEP_S
        rows = connection.execute(select(table.c.facts, table.c.at_s)).all()
    ids = {row.facts: example_of(json.loads(row.facts)["example"]).id for row in rows}
    old = {ids[row.facts] for row in rows if row.at_s < old_s}
    if not old:
        return
    kept = {ids[row.facts] for row in rows if row.at_s >= old_s}
    with suppress(GalleryMissing):
        kept |= {example.id for example in read_gallery(location).examples}
    # The pictures go first. If the process dies in between, the rows still have their ids.
    delete_pictures(location, old - kept)
    database.run(lambda connection: connection.execute(delete(table).where(table.c.at_s < old_s)))
