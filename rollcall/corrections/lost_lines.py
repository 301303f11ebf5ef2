"""Writes the lines of the log that are missing for verdicts and photos of the gallery.

A process may have died after it had changed the gallery. `started_changes` completes most of these
lines. The lines here follow from the gallery alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from rollcall.core.gallery import Gallery
from rollcall.core.verdicts import VERDICT_KINDS
from rollcall.corrections.started_changes import IN_PROGRESS_S
from rollcall.database.index_tables import change
from rollcall.index.change_log import write_line

MAX_KEYS = 5


def write_lost_lines(connection: Connection, now_s: float, gallery: Gallery) -> None:
    known = _ids_in_log(connection)
    _write_verdicts(connection, now_s, gallery, known)
    _write_enrolments(connection, now_s, gallery, known)


def _ids_in_log(connection: Connection) -> set[str]:
    """The ids of the verdicts and examples that the log has lines about."""
    actions = change.c.action.in_((*VERDICT_KINDS, "enrol"))
    query = select(change.c.undo).where(actions, change.c.undo != "")
    ids = set[str]()
    for text in connection.execute(query).scalars():
        undo = json.loads(text)
        ids.update(undo.get("verdicts", ()), undo.get("examples", ()))
    return ids


def _write_verdicts(
    connection: Connection, now_s: float, gallery: Gallery, known: set[str]
) -> None:
    for verdict in gallery.verdicts:
        if verdict.id not in known:
            details = {"faces": len(verdict.sources), "keys": keys_of(verdict.sources)}
            undo = {"verdicts": [verdict.id]}
            texts = (verdict.who, verdict.kind, verdict.name, details)
            write_line(connection, verdict.at_s or now_s, *texts, undo)


def _write_enrolments(
    connection: Connection, now_s: float, gallery: Gallery, known: set[str]
) -> None:
    """Write one line for the photos of a person that were uploaded together.

    Only the pages note who added a photo. The newest photos are left out, because the page that
    added them may be about to write their line.
    """
    added: dict[tuple[str, str, float], list[str]] = {}
    for name, example in zip(gallery.names, gallery.examples, strict=True):
        is_upload = bool(example.added_by and example.id) and not example.verdict
        if is_upload and example.id not in known and example.added_s <= now_s - IN_PROGRESS_S:
            added.setdefault((name, example.added_by, example.added_s), []).append(example.id)
    for (name, who, at_s), ids in added.items():
        undo = {"examples": ids}
        write_line(connection, at_s or now_s, who, "enrol", name, {"photos": len(ids)}, undo)


def keys_of(sources: Sequence[Any]) -> list[str]:
    """The keys of a few of the videos that the faces come from."""
    return list(dict.fromkeys(source.key for source in sources if source.key))[:MAX_KEYS]
