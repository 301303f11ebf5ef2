"""The log of changes: who changed what, and when (table `change`).

Details are stored as JSON and never hold encodings. When a person is forgotten, the lines stay, but
the name is removed from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection, CursorResult, Row, delete, insert, or_, select, update

from rollcall.core.names import spellings
from rollcall.core.web_protocols import Change
from rollcall.database.database import Database
from rollcall.database.index_tables import change, removed_example
from rollcall.index.former_names import Span, spans_of

KEEP_VIEWS_S = 90 * 86400.0
"""How long the log keeps views of a person's page and sign-ins."""

SHORT_LIVED = ("view", "sign_in")
"""Actions whose lines are deleted after KEEP_VIEWS_S. Lines about changes stay."""

STARTED = "started"
"""Action of a line about a change that is not finished (`corrections.started_changes`)."""

MAX_TEXT_CHARS = 1100
"""Longest `who` and `name`. All names and keys of videos are shorter."""

CHUNK = 1000
"""Rows that one transaction deletes or reads."""


class SqlChangeLog:
    """ChangeLog in the database. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        who: str,
        action: str,
        name: str = "",
        details: Mapping[str, Any] | None = None,
        undo: Mapping[str, Any] | None = None,
    ) -> int:
        database = self._database

        def write(connection: Connection) -> int:
            return write_line(
                connection, database.now_s(connection), who, action, name, details, undo
            )

        return database.run(write)

    def latest(
        self,
        limit: int,
        before_id: int | None = None,
        name: str = "",
        *,
        only_changes: bool = False,
    ) -> list[Change]:
        """The newest lines, newest first; only those before `before_id`, and those about `name`.

        `only_changes` leaves out views and sign-ins.
        """
        query = select(change).where(change.c.action != STARTED)
        if only_changes:
            query = query.where(change.c.action.not_in(SHORT_LIVED))
        query = query.order_by(change.c.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(change.c.id < before_id)
        if name:
            query = query.where(change.c.name == _storable(name))
        with self._database.reading() as connection:
            return [_change(row) for row in connection.execute(query)]

    def get(self, change_id: int) -> Change | None:
        with self._database.reading() as connection:
            row = _row(connection, change_id)
        return _change(row) if row and row.action != STARTED else None

    def undo_of(self, change_id: int) -> Mapping[str, Any]:
        """The `undo` that `record` got; empty if the change cannot be undone."""
        with self._database.reading() as connection:
            row = _row(connection, change_id)
        return fields_of(row.undo) if row else {}

    def mark_undone(self, change_id: int, undone_by: int) -> bool:
        """Connect a change with the line that undoes it. Return False if it was undone before."""
        return self._database.run(
            lambda connection: mark_undone(connection, change_id, undone_by),
        )

    def count_videos(self, change_id: int, count: int = 1) -> None:
        """Add to the number of videos whose results the change has changed."""
        self._database.run(lambda connection: count_videos(connection, change_id, count))

    def forget(self, name: str) -> int:
        """Remove a person's name from all lines, and return the number of changed lines.

        This includes the former names of the person. A line that would bring the name back can no
        longer be undone.
        """
        with self._database.reading() as connection:
            spans = spans_of(connection, name)
        forgotten = set[int]()
        for span in spans:
            after_id = span.after_id
            while True:
                step = partial(_forget, span=span._replace(after_id=after_id))
                found, after_id = self._database.run(step)
                forgotten.update(found)
                if not after_id:
                    break
        return len(forgotten)

    def mentions(self, name: str) -> int:
        """The number of lines that `forget` would change."""
        with self._database.reading() as connection:
            return len(
                {
                    row.id
                    for span in spans_of(connection, name)
                    for row in _lines(connection, span)
                    if _is_about(row, set(spellings(span.name)))
                }
            )

    def prune(self, keep_s: float = KEEP_VIEWS_S) -> int:
        """Delete old lines about views and sign-ins. Return the number of deleted lines."""
        old = select(change.c.id).where(change.c.action.in_(SHORT_LIVED)).order_by(change.c.at_s)

        def delete_old(connection: Connection) -> int:
            before_s = self._database.now_s(connection) - keep_s
            ids = old.where(change.c.at_s < before_s).limit(CHUNK)
            return connection.execute(delete(change).where(change.c.id.in_(ids))).rowcount

        count = deleted = self._database.run(delete_old)
        while deleted == CHUNK:
            deleted = self._database.run(delete_old)
            count += deleted
        return count


def write_line(
    connection: Connection,
    now_s: float,
    who: str,
    action: str,
    name: str = "",
    details: Mapping[str, Any] | None = None,
    undo: Mapping[str, Any] | None = None,
    undoes: int | None = None,
) -> int:
    """Write a line in the transaction of the connection, and return its id."""
    values = {
        "at_s": now_s,
        "who": _storable(who),
        "action": action,
        "name": _storable(name),
        "details": json.dumps(details) if details else "",
        "undo": json.dumps(undo) if undo else "",
        "undoes": undoes,
    }
    written = insert(change).values(values).returning(change.c.id)
    id_: int = connection.execute(written).scalar_one()
    return id_


def newest_line(connection: Connection) -> int:
    """The id of the newest line of the log; 0 if there is none."""
    query = select(change.c.id).where(change.c.action != STARTED).order_by(change.c.id.desc())
    return connection.execute(query.limit(1)).scalar() or 0


def mark_undone(connection: Connection, change_id: int, undone_by: int) -> bool:
    """Like `SqlChangeLog.mark_undone`, in the transaction of the connection."""
    undone = update(change).where(change.c.id == change_id, change.c.undone_by.is_(None))
    if not connection.execute(undone.values(undone_by=undone_by)).rowcount:
        return False
    connection.execute(update(change).where(change.c.id == undone_by).values(undoes=change_id))
    return True


def count_videos(connection: Connection, change_id: int, count: int) -> None:
    """Like `SqlChangeLog.count_videos`, in the transaction of the connection."""
    more = {"videos": change.c.videos + count}
    connection.execute(update(change).where(change.c.id == change_id).values(more))


def count_failed(connection: Connection, change_id: int) -> None:
    """Count a video that could not be corrected after the change (`failed` in the details)."""
    query = select(change.c.details).where(change.c.id == change_id).with_for_update()
    text = connection.execute(query).scalar()
    if text is not None:
        details = fields_of(text)
        details["failed"] = details.get("failed", 0) + 1
        values = {"details": json.dumps(details)}
        connection.execute(update(change).where(change.c.id == change_id).values(values))


def _forget(connection: Connection, span: Span) -> tuple[list[int], int]:
    """Remove the name from the next lines. Return their ids, and the id of the last line; 0 if
    there are no more."""
    rows = list(_lines(connection, span, CHUNK))
    forgotten = set(spellings(span.name))
    about = [row for row in rows if _is_about(row, forgotten)]
    for row in about:
        details, undo = _without(fields_of(row.details), forgotten), fields_of(row.undo)
        is_only_mentioned = row.name not in forgotten and _without(undo, forgotten) == undo
        values = {
            "name": "" if row.name in forgotten else row.name,
            "details": json.dumps(details) if details else "",
            "undo": row.undo if is_only_mentioned else "",
        }
        connection.execute(update(change).where(change.c.id == row.id).values(values))
        if not is_only_mentioned:
            removed = delete(removed_example).where(removed_example.c.change_id == row.id)
            connection.execute(removed)
    return [row.id for row in about], rows[-1].id if len(rows) == CHUNK else 0


def _lines(connection: Connection, span: Span, limit: int | None = None) -> CursorResult[Any]:
    """The lines that may contain this name. SQLite also finds names in other letter case."""
    conditions = []
    for spelling in spellings(span.name):
        quoted = json.dumps(spelling)
        conditions.append(change.c.name == _storable(spelling))
        columns = (change.c.details, change.c.undo)
        conditions += [column.contains(quoted, autoescape=True) for column in columns]
    query = select(change).where(change.c.id > span.after_id, or_(*conditions))
    if span.until_id is not None:
        query = query.where(change.c.id <= span.until_id)
    return connection.execute(query.order_by(change.c.id).limit(limit))


def _is_about(row: Row[Any], forgotten: set[str]) -> bool:
    """Whether the line has one of the names as a whole text."""
    texts = [fields_of(row.details), fields_of(row.undo)]
    return row.name in forgotten or any(_without(each, forgotten) != each for each in texts)


def _without(value: Any, forgotten: set[str]) -> Any:
    """The JSON value without the texts in `forgotten`, and without keys that have such a text."""
    if isinstance(value, dict):
        kept = {key: _without(each, forgotten) for key, each in value.items()}
        return {key: each for key, each in kept.items() if not {key, _text(each)} & forgotten}
    if isinstance(value, list):
        return [_without(each, forgotten) for each in value if _text(each) not in forgotten]
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _row(connection: Connection, change_id: int) -> Row[Any] | None:
    return connection.execute(select(change).where(change.c.id == change_id)).first()


def _change(row: Row[Any]) -> Change:
    return Change(
        id=row.id,
        at_s=row.at_s,
        who=row.who,
        action=row.action,
        name=row.name,
        details=fields_of(row.details),
        videos=row.videos,
        can_undo=bool(row.undo) and row.undone_by is None,
        undone_by=row.undone_by,
        undoes=row.undoes,
    )


def fields_of(text: str) -> dict[str, Any]:
    """The JSON object in a column of a line; an empty one if the column is empty."""
    parsed = json.loads(text) if text else {}
    return parsed if isinstance(parsed, dict) else {}


def _storable(text: str) -> str:
    # PostgreSQL stores no NUL characters, and neither database stores halves of characters.
    whole = text.replace("\x00", "\ufffd").encode(errors="replace").decode()
    return whole[:MAX_TEXT_CHARS]
