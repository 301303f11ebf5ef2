"""Finds the former names of a person in the log, so that they can be forgotten too.

A former name may belong to somebody else before and after. So it counts only in the lines between
the moment when the person got this name and the moment when the person lost it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, or_, select

from rollcall.core.names import spellings
from rollcall.database.index_tables import appearance, change, person, rematch, video

MAX_NAMES = 100
"""Limit on the former names of one person that are found."""

MOVES = or_(
    change.c.action.in_(("rename", "merge")),
    # The undo of a rename is a rename back.
    (change.c.action == "undo") & change.c.details.contains('"new_name"'),
)
"""The lines after which a person has another name. A merge may be undone later (`undone_by`)."""


class Span(NamedTuple):
    """The lines in which a name stands for the person."""

    name: str
    after_id: int = 0
    until_id: int | None = None


def new_name_of(details: Mapping[str, Any]) -> str:
    """The name after a rename, a merge or the undo of a rename; empty if it was forgotten."""
    return details.get("into") or details.get("new_name") or ""


def spans_of(connection: Connection, name: str) -> list[Span]:
    """All lines with this name, and those with the former names of the person.

    A name comes before the one that replaced it. If a process forgets them in this order and stops,
    the rest can still be found.
    """
    spans = [Span(name)]
    for span in spans:  # the list grows
        after_id = span.after_id or _last_move(connection, span.name, span.until_id)
        for line_id, former in _moves_to(connection, span._replace(after_id=after_id)):
            found = Span(former, _last_move(connection, former, line_id), line_id)
            if former not in spellings(name) and found not in spans and len(spans) < MAX_NAMES:
                spans.append(found)
    return spans[::-1]


def former_names_of(connection: Connection, name: str) -> list[str]:
    """The names that a person had before. Other people may have them today."""
    names = {span.name for span in spans_of(connection, name)}
    return sorted(names - {*spellings(name)})


def waiting_with_former_name(connection: Connection, name: str) -> int:
    """The number of videos that wait to be corrected and show somebody with a former name of this
    person."""
    former = former_names_of(connection, name)
    if not former:
        return 0
    query = (
        select(func.count(video.c.id.distinct()))
        .join(rematch, (rematch.c.bucket == video.c.bucket) & (rematch.c.key == video.c.key))
        .join(appearance, appearance.c.video_id == video.c.id)
        .join(person, person.c.id == appearance.c.person_id)
        .where(person.c.name.in_(former))
    )
    return connection.execute(query).scalar_one()


def _last_move(connection: Connection, name: str, before_id: int | None) -> int:
    """The last line before this one after which the name was free; 0 if there is none."""
    query = select(func.max(change.c.id)).where(
        change.c.name == name, MOVES, (change.c.action != "merge") | change.c.undone_by.is_(None)
    )
    if before_id is not None:
        query = query.where(change.c.id < before_id)
    return connection.execute(query).scalar() or 0


def _moves_to(connection: Connection, span: Span) -> list[tuple[int, str]]:
    """The lines in the span that gave somebody this name, each with the former name."""
    has_name = [
        change.c.details.contains(json.dumps(each), autoescape=True)
        for each in spellings(span.name)
    ]
    query = select(change.c.id, change.c.name, change.c.details).where(
        MOVES,
        (change.c.action != "merge") | change.c.undone_by.is_(None),
        change.c.id > span.after_id,
        change.c.name != "",
        or_(*has_name),
    )
    if span.until_id is not None:
        query = query.where(change.c.id <= span.until_id)
    return [
        (row.id, row.name)
        for row in connection.execute(query.order_by(change.c.id))
        if new_name_of(json.loads(row.details)) in spellings(span.name)
    ]
