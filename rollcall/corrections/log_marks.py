"""References to lines of the log, which reports keep.

If the database is lost, the next log gives the same ids to other lines. So a reference has the time
of the line too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, select

from rollcall.core.verdicts import VERDICT_KINDS
from rollcall.corrections.started_changes import MAX_AGE_S
from rollcall.database.index_tables import change
from rollcall.index.change_log import STARTED

MAX_ID = 2**62
"""Databases have no larger ids."""

Mark = tuple[int, float]
"""The id of a line, and its time (Unix time). In JSON, a list."""


def marks_in(value: object) -> list[Mark]:
    """The marks in a field of a report, which another program may have written."""
    return [mark for each in (value if isinstance(value, list) else ()) if (mark := _mark(each))]


def _mark(value: object) -> Mark | None:
    if isinstance(value, list | tuple) and len(value) == 2:
        line_id, at_s = value
        if isinstance(line_id, int) and isinstance(at_s, int | float) and 0 <= line_id <= MAX_ID:
            return line_id, at_s
    return None


def marked_line(connection: Connection, value: object) -> int | None:
    """The id of a marked line; None if the value is not a mark.

    If the log does not have this line any more, the newest line at its time counts.
    """
    mark = _mark(value)
    if mark is None:
        return None
    line_id, at_s = mark
    found = connection.execute(select(change.c.at_s).where(change.c.id == line_id)).scalar()
    return line_id if found == at_s else newest_line_at(connection, at_s)


def mark_up_to(connection: Connection, line_id: int, now_s: float) -> Mark:
    """The mark of the newest line up to this one.

    A change that is not finished yet will become a line, and results have to follow it then. So
    the mark is before it.
    """
    unfinished = select(func.min(change.c.id)).where(
        change.c.action == STARTED, change.c.at_s >= now_s - MAX_AGE_S
    )
    oldest = connection.execute(unfinished).scalar()
    last_id = line_id if oldest is None else min(line_id, oldest - 1)
    lines = select(change.c.id, change.c.at_s).where(
        change.c.id <= last_id, change.c.action != STARTED
    )
    row = connection.execute(lines.order_by(change.c.id.desc()).limit(1)).first()
    return (row.id, row.at_s) if row else (0, 0.0)


def newest_line_at(connection: Connection, at_s: float) -> int:
    """The id of the newest line at this time; 0 if there is none."""
    # Lines about verdicts and enrolments may have been written later (`lost_lines`).
    late = (STARTED, *VERDICT_KINDS, "enrol")
    query = select(change.c.id).where(change.c.at_s <= at_s, change.c.action.not_in(late))
    newest = query.order_by(change.c.at_s.desc(), change.c.id.desc()).limit(1)
    return connection.execute(newest).scalar() or 0


def merge_lines(connection: Connection, marks: Sequence[Mark]) -> dict[Mark, Row[Any]]:
    """The lines of these merges that the log still has."""
    if not marks:
        return {}
    ids = [line_id for line_id, _ in marks]
    query = select(change).where(change.c.id.in_(ids), change.c.action == "merge")
    rows = {(row.id, row.at_s): row for row in connection.execute(query)}
    return {mark: rows[mark] for mark in marks if mark in rows}
