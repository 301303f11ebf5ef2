"""Finds the present names of people in results, from the log of changes.

Rename and merge also reach videos without stored faces, and the log says what became of the names
in their results. So the queue of videos needs no list of changes: a video that is corrected late
gets the present names too.

Somebody else may get the former name of a person. So only those lines count that are newer than the
gallery that gave the result its names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from rollcall.core.names import UNKNOWN, normalise_name
from rollcall.corrections.log_marks import Mark, marks_in, merge_lines, newest_line_at
from rollcall.database.index_tables import change, gallery_version
from rollcall.index.change_log import fields_of, newest_line
from rollcall.index.former_names import MOVES, new_name_of

MAX_STEPS = 100
"""Limit on the renames of one person that are followed."""

MERGED_BY = "merged_by"
"""Field of a person in a report: the merges that changed the person's name (`log_marks`). With
them, the undo of a merge finds the former name. The report of a forgotten person keeps no name."""

JOINED_BY = "joined_by"
"""Field of a person in a report: the merges because of which the entries of two people became one.
The undo of these merges cannot separate them."""

NAMES_AS_OF = "names_as_of"
"""Field of a corrected report: the newest line of the log (`log_marks`) that its names follow."""


def line_of_gallery(connection: Connection, version: str) -> int | None:
    """The newest line when the gallery had this version; None if the version is not known."""
    query = select(gallery_version.c.change_id).where(gallery_version.c.version == version)
    return connection.execute(query).scalar()


def names_as_of(connection: Connection, version: str, recognised_s: float) -> int:
    """The newest line that the names of a result follow; 0 if there is none.

    `version` is that of the gallery that was used. A function may have used an old copy, so the
    time of the recognition counts only if the version is not known.
    """
    known = line_of_gallery(connection, version)
    return newest_line_at(connection, recognised_s) if known is None else known


def present_name(
    connection: Connection, name: str, after_id: int, until_id: int
) -> tuple[str, list[Mark]]:
    """The name that a person has after the lines between these ids, and the merges on the way."""
    found, merges = name, list[Mark]()
    for _ in range(MAX_STEPS):
        query = select(change).where(
            change.c.name == found, change.c.id > after_id, change.c.id <= until_id, MOVES
        )
        line = connection.execute(query.order_by(change.c.id).limit(1)).first()
        if line is None:
            break
        if line.action == "merge" and line.undone_by is not None:
            after_id = line.undone_by  # nothing that happened in between was about this person
            continue
        new = new_name_of(fields_of(line.details))
        if not new:  # somebody with the new name was forgotten
            break
        if line.action == "merge":
            merges.append((line.id, line.at_s))
        found, after_id = new, line.id
    return found, merges


def name_before(
    connection: Connection, merges: Sequence[Mark], until_id: int
) -> tuple[str, list[Mark]] | None:
    """If one of the merges was undone: the name before it, and the merges that are left."""
    lines = merge_lines(connection, merges)
    for place, mark in enumerate(merges):
        line = lines.get(mark)
        if line is not None and line.name and line.undone_by is not None:
            name, more = present_name(connection, line.name, line.undone_by, until_id)
            return name, [*merges[:place], *more]
    return None


def present_names(
    connection: Connection, people: Iterable[Mapping[str, Any]], after_id: int, until_id: int
) -> tuple[dict[int, str], dict[int, list[Mark]]]:
    """The changed names of people of a report, by their place, and their new `merged_by`.

    Only the lines of the log after `after_id` and up to `until_id` count.
    """
    names: dict[int, str] = {}
    merged: dict[int, list[Mark]] = {}
    for place, person in enumerate(people):
        name, merges = normalise_name(person["name"]), marks_in(person.get(MERGED_BY))
        if name == UNKNOWN:
            continue
        before = name_before(connection, merges, until_id)
        new, more = before or present_name(connection, name, after_id, until_id)
        if new != name:
            names[place] = new
            merged[place] = more if before else [*merges, *more]
    return names, merged


def joined_entries(
    people: Sequence[Mapping[str, Any]], places: Sequence[int]
) -> dict[int, list[Mark]]:
    """The new places of entries that become one, each with its `joined_by`.

    `places` has the new place of each entry.
    """
    counts = Counter(places)
    joined: dict[int, list[Mark]] = {}
    for person, place in zip(people, places, strict=True):
        if counts[place] > 1:
            marks = {
                mark for field in (MERGED_BY, JOINED_BY) for mark in marks_in(person.get(field))
            }
            joined[place] = sorted({*joined.get(place, ()), *marks})
    return joined


def is_merge_undone(
    connection: Connection, people: Iterable[Mapping[str, Any]], after_id: int
) -> bool:
    """Whether a merge that gave one of these people the name was undone after this line."""
    names = {normalise_name(person["name"]) for person in people}
    undone = select(change.c.undoes).where(
        change.c.id > after_id, change.c.action == "undo", change.c.undoes <= after_id
    )
    merges = select(change).where(change.c.id.in_(undone), change.c.action == "merge")
    for line in connection.execute(merges).all():
        into = new_name_of(fields_of(line.details))
        if into and present_name(connection, into, line.id, newest_line(connection))[0] in names:
            return True
    return False


def is_joined_for_good(connection: Connection, people: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of the merges that joined entries was undone."""
    merges = [mark for person in people for mark in marks_in(person.get(JOINED_BY))]
    return any(line.undone_by is not None for line in merge_lines(connection, merges).values())
