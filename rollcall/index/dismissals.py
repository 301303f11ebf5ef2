"""Dismisses problems, and brings them back. Both are lines of the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete
from sqlalchemy.dialects import postgresql, sqlite

from rollcall.core.errors import PermanentError
from rollcall.database.database import Database
from rollcall.database.index_tables import dismissed
from rollcall.index.change_log import SqlChangeLog, mark_undone, write_line
from rollcall.index.problem_queries import Kind

CHUNK = 500
"""Rows of one statement. SQLite limits the number of parameters."""


class UndoneBefore(PermanentError):
    """A change cannot be undone, because somebody has undone it already."""

    code = "undone_before"
    status = 409


class Dismissals:
    """Changes the table `dismissed`. Every method may raise InboxUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = SqlChangeLog(database)
        self._insert = (postgresql if database.shared else sqlite).insert

    def dismiss(
        self,
        kind: Kind,
        numbers: Sequence[int],
        who: str,
        name: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> int:
        """Dismiss the problems with these numbers. Returns the id of the line in the log."""

        def change(connection: Connection) -> int:
            now_s = self._database.now_s(connection)
            for chunk in _chunks(numbers):
                rows = [{"kind": kind, "number": n, "at_s": now_s, "who": who} for n in chunk]
                inserted = self._insert(dismissed).values(rows)
                again = {"at_s": inserted.excluded.at_s, "who": inserted.excluded.who}
                connection.execute(
                    inserted.on_conflict_do_update(index_elements=["kind", "number"], set_=again)
                )
            undo = {"kind": kind, "numbers": list(numbers)}
            return write_line(connection, now_s, who, "dismiss", name, details, undo)

        return self._database.run(change)

    def restore(self, change_id: int, who: str) -> int:
        """Undo `dismiss`. Returns the id of the line in the log. Raises UndoneBefore."""
        line, undo = self._log.get(change_id), self._log.undo_of(change_id)
        if line is None or line.action != "dismiss" or not undo:
            raise UndoneBefore("this is not a dismissal, so it cannot be taken back")

        def change(connection: Connection) -> int:
            now_s = self._database.now_s(connection)
            details = {"action": "dismiss", **line.details}
            id_ = write_line(connection, now_s, who, "undo", line.name, details)
            if not mark_undone(connection, change_id, id_):
                raise UndoneBefore("somebody has undone this change already")
            table = dismissed.c
            # A problem that happened again may have been dismissed again, with a later time.
            these = delete(dismissed).where(table.kind == undo["kind"], table.at_s <= line.at_s)
            for chunk in _chunks(undo["numbers"]):
                connection.execute(these.where(table.number.in_(chunk)))
            return id_

        return self._database.run(change)


def _chunks(numbers: Sequence[int]) -> list[Sequence[int]]:
    return [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
