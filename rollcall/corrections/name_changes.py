"""Finds the present names of people in results, from the log of changes.

Rename and merge also reach videos without stored faces. Their results name people who are no longer
in the gallery, and the log says what became of these names. So the queue of videos needs no list of
changes: a video that is corrected late gets the present names too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, or_, select

from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.database.index_tables import change

MAX_STEPS = 100
"""Limit on the renames of one person that are followed."""

MERGED_BY = "merged_by"
"""Field of a person in a report: the ids of the merges that changed the person's name. With them,
the undo of a merge finds the former name. The report of a forgotten person keeps no name."""

_MOVES = or_(
    change.c.action.in_(("rename", "merge")) & change.c.undone_by.is_(None),
    # The undo of a rename is a rename back.
    (change.c.action == "undo") & change.c.details.contains('"new_name"'),
)


def present_name(
    connection: Connection, name: str, people: Collection[str]
) -> tuple[str, list[int]]:
    """The name that a person has in the gallery now, and the ids of the merges on the way.

    The same name if nothing is known, or if the gallery has it.
    """
    found, merges, after_id = name, list[int](), 0
    for _ in range(MAX_STEPS):
        if found in people:
            return found, merges
        query = select(change.c.id, change.c.action, change.c.details).where(
            change.c.name == found, change.c.id > after_id, _MOVES
        )
        line = connection.execute(query.order_by(change.c.id).limit(1)).first()
        if line is None:
            break
        details = json.loads(line.details)
        if line.action == "merge":
            merges.append(line.id)
        found, after_id = details.get("into") or details.get("new_name") or found, line.id
    return name, []


def name_before(
    connection: Connection, merges: Sequence[int], people: Collection[str]
) -> tuple[str, list[int]] | None:
    """If one of the merges was undone: the name before it, and the merges that are left."""
    for place, change_id in enumerate(merges):
        columns = (change.c.name, change.c.undone_by)
        line = connection.execute(select(*columns).where(change.c.id == change_id)).first()
        if line is not None and line.undone_by is not None:
            name, more = present_name(connection, line.name, people)
            return (name, [*merges[:place], *more]) if name in people else None
    return None


def present_names(
    connection: Connection, people: Iterable[Mapping[str, Any]], gallery: Collection[str]
) -> tuple[dict[int, str], dict[int, list[int]]]:
    """The changed names of people of a report, by their place, and their new `merged_by`."""
    names: dict[int, str] = {}
    merged: dict[int, list[int]] = {}
    for place, person in enumerate(people):
        name, merges = normalise_name(person["name"]), _merges_of(person)
        if name == UNKNOWN:
            continue
        before = name_before(connection, merges, gallery)
        new, more = before or present_name(connection, name, gallery)
        if new != name:
            names[place] = new
            merged[place] = more if before else [*merges, *more]
    return names, merged


def _merges_of(person: Mapping[str, Any]) -> list[int]:
    found = person.get(MERGED_BY)
    return [each for each in found if isinstance(each, int)] if isinstance(found, list) else []
