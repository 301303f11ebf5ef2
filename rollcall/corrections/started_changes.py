"""Lines of the log about changes of the gallery that are not finished yet.

The gallery and the log cannot be written in one transaction. So a line is written before the
gallery, with the action `started`, which no page shows. If the process dies in between, or the
database stops, the gallery shows later whether the change was made, and the line is completed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, update

from rollcall.core.gallery import Gallery
from rollcall.corrections.gallery_edits import Edit
from rollcall.database.index_tables import change, removed_example
from rollcall.index.change_log import STARTED, fields_of, write_line

IN_PROGRESS_S = 10.0
"""How long a started line of another process counts as a change in progress."""

KEEP_S = 300.0
"""Started changes that the gallery does not show are deleted after this time."""

MAX_AGE_S = 86400.0
"""Older lines are only searched for when all videos are compared with the gallery again."""

MAX_IDS = 10
"""Ids that are enough to recognise a change of the gallery."""


class Line(NamedTuple):
    """A line of the log that is about to be written."""

    who: str
    action: str
    name: str = ""
    details: Mapping[str, Any] = {}
    undoes: int | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """A change that was started."""

    id: int
    at_s: float
    line: Line
    writer: str
    """Token of the GalleryWriter that started it."""
    names: tuple[str, ...]
    ignored: bool
    undo: Mapping[str, Any]
    gone: Sequence[str]
    """Ids that are not in the gallery after the change."""
    owners: Mapping[str, str]
    """Ids that are new after the change, or belong to another person, with the names then."""

    def is_in(self, gallery: Gallery) -> bool:
        """Whether the gallery shows that the change was made.

        Names alone would not show it. After a merge that failed, the name may be gone because
        somebody renamed the person.
        """
        found = _owners(gallery)
        return bool(self.gone or self.owners) and (
            found.keys().isdisjoint(self.gone) and found.items() >= self.owners.items()
        )

    def edit(self, gallery: Gallery) -> Edit:
        return Edit(gallery, self.names, ignored=self.ignored, undo=self.undo)


def start(
    connection: Connection, now_s: float, line: Line, writer: str, before: Gallery, edit: Edit
) -> int:
    """Write the line of a change that is about to be made, and return its id."""
    gone, owners = _difference(before, edit.gallery)
    details = {
        "action": line.action,
        "details": dict(line.details),
        "undoes": line.undoes,
        "writer": writer,
        "names": edit.names,
        "ignored": edit.ignored,
        "gone": gone,
        "owners": owners,
    }
    started = select(change.c.id, change.c.details).where(
        change.c.action == STARTED, change.c.name == line.name
    )
    for row in connection.execute(started).all():
        earlier = fields_of(row.details)
        if {**earlier, "writer": ""} == json.loads(json.dumps({**details, "writer": ""})):
            drop(connection, row.id)  # the same change, which failed before
    return write_line(connection, now_s, line.who, STARTED, line.name, details, edit.undo)


def finish(connection: Connection, change_id: int, line: Line, undo: Mapping[str, Any]) -> bool:
    """Complete a started line. Return False if it is not a started line."""
    started = update(change).where(change.c.id == change_id, change.c.action == STARTED)
    details = json.dumps(line.details) if line.details else ""
    values = {"action": line.action, "details": details, "undo": json.dumps(undo) if undo else ""}
    return bool(connection.execute(started.values(values)).rowcount)


def drop(connection: Connection, change_id: int) -> None:
    """Delete a started line, and what it keeps of the gallery."""
    started = delete(change).where(change.c.id == change_id, change.c.action == STARTED)
    if connection.execute(started).rowcount:
        connection.execute(delete(removed_example).where(removed_example.c.change_id == change_id))


def is_line(connection: Connection, change_id: int) -> bool:
    found = connection.execute(select(change.c.id).where(change.c.id == change_id))
    return found.first() is not None


def started_changes(connection: Connection, since_s: float) -> list[Started]:
    """The changes that were started since then and not finished, oldest first."""
    query = select(change).where(change.c.action == STARTED, change.c.at_s >= since_s)
    found = []
    for row in connection.execute(query.order_by(change.c.id)):
        details = fields_of(row.details)
        line = Line(
            row.who,
            details.get("action") or "",
            row.name,
            details.get("details") or {},
            details.get("undoes"),
        )
        found.append(
            Started(
                row.id,
                row.at_s,
                line,
                details.get("writer") or "",
                tuple(details.get("names") or ()),
                bool(details.get("ignored")),
                fields_of(row.undo),
                details.get("gone") or [],
                details.get("owners") or {},
            )
        )
    return found


def _difference(before: Gallery, after: Gallery) -> tuple[list[str], dict[str, str]]:
    """The ids that are gone, and those that are new or belong to another person, with its name."""
    old, new = _owners(before), _owners(after)
    gone = sorted(old.keys() - new.keys())
    changed = sorted(each for each, name in new.items() if old.get(each) != name)
    return gone[:MAX_IDS], {each: new[each] for each in changed[:MAX_IDS]}


def _owners(gallery: Gallery) -> dict[str, str]:
    """The name of the person for each id of an example or a verdict."""
    examples = zip(gallery.examples, gallery.names, strict=True)
    owners = {example.id: name for example, name in examples if example.id}
    return owners | {verdict.id: verdict.name for verdict in gallery.verdicts}
