"""The outbox in an SQL database."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    TextClause,
    delete,
    func,
    select,
    text,
    update,
)

from rollcall.core.notices import KEEP_S, StoredNotice
from rollcall.core.texts import storable
from rollcall.core.work import Notice
from rollcall.database.database import Database
from rollcall.database.json_rows import as_rows
from rollcall.database.tables import notice as table
from rollcall.queues.sql_statements import STATEMENTS, Statements

MAX_COUNTED = 10_000
"""Largest number that `counts` reports, because counting a million messages would take too long for
a page or a metric."""

# The conditions on the state are literals, because SQLite uses a partial index only for a query
# that repeats the condition of the index. A parameter would hide the state.
_QUEUED = text("state='queued'")
_RUNNING = text("state='running'")
_DEAD = text("state='dead'")
_NOT_DEAD = text("state<>'dead'")

_FIELDS = [table.c[field.name] for field in fields(StoredNotice)]


def insert_notices(
    connection: Connection, sql: Statements, notices: Iterable[Notice], now_s: float | None
) -> None:
    """Queue messages in the caller's transaction."""
    rows = [
        {"message_id": storable(notice.message_id), "body": storable(notice.body)}
        for notice in notices
    ]
    if rows:
        connection.execute(sql.notify, {"rows": as_rows(rows), "now_s": now_s})


class SqlOutbox:
    """An Outbox in the table `notice`. The caller closes the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.shared = database.shared

    def add(self, notices: Iterable[Notice]) -> None:
        added = list(notices)

        def change(connection: Connection) -> None:
            now_s = self._database.now_s(connection)
            insert_notices(connection, STATEMENTS[self.shared], added, now_s)

        self._database.run(change)

    def claim(self, limit: int, lease_s: float) -> Sequence[StoredNotice]:
        def change(connection: Connection) -> list[StoredNotice]:
            now_s = self._database.now_s(connection)
            # SQLite ignores FOR UPDATE, because it has only one writer at a time.
            due = (
                select(table.c.id)
                .where(_QUEUED, table.c.due_s <= now_s)
                .order_by(table.c.due_s, table.c.id)
                .limit(limit)
                .with_for_update(skip_locked=True)
                .cte("due")
            )
            claimed = connection.execute(
                update(table)
                .where(table.c.id.in_(select(due.c.id)))
                .values(
                    state="running",
                    attempts=table.c.attempts + 1,
                    calls=table.c.calls + 1,
                    lease_until_s=now_s + lease_s,
                    changed_s=now_s,
                )
                .returning(*_FIELDS)
            )
            return [StoredNotice(*row) for row in claimed]

        # Most claims find nothing. A query does not have to wait for other writers.
        return self._database.run(change) if self._any_due() else ()

    def delivered(self, notice: StoredNotice) -> None:
        # The message is deleted even if its lease has expired, because it was delivered.
        self._run(delete(table).where(_is(notice)))

    def retry(
        self, notice: StoredNotice, delay_s: float, code: str, message: str, *, counts: bool = True
    ) -> None:
        attempts = table.c.attempts - (0 if counts else 1)
        self._settle(notice, delay_s, state="queued", attempts=attempts, code=code, message=message)

    def bury(self, notice: StoredNotice, code: str, message: str) -> None:
        self._settle(notice, 0.0, state="dead", code=code, message=message)

    def requeue_expired(self, *, everything: bool = False) -> int:
        def change(connection: Connection) -> int:
            now_s = self._database.now_s(connection)
            expired = table.c.lease_until_s < (math.inf if everything else now_s)
            requeued = update(table).where(_RUNNING, expired)
            values = {"state": "queued", "due_s": now_s, "changed_s": now_s}
            return connection.execute(requeued.values(values)).rowcount

        return self._database.run(change)

    def replay(self, ids: Sequence[int] = ()) -> int:
        def change(connection: Connection) -> int:
            now_s = self._database.now_s(connection)
            # `calls` keeps growing, because it distinguishes the claims of a message.
            replayed = update(table).where(_DEAD).values(state="queued", attempts=0)
            if ids:
                replayed = replayed.where(table.c.id.in_(ids))
            values = {"due_s": now_s, "created_s": now_s, "changed_s": now_s}
            return connection.execute(replayed.values(values)).rowcount

        return self._database.run(change)

    def counts(self) -> dict[str, int]:
        with self._database.reading() as connection:
            return {state: connection.execute(_COUNTS[state]).scalar_one() for state in _COUNTS}

    def oldest_s(self) -> float:
        with self._database.reading() as connection:
            oldest = select(func.min(table.c.created_s)).where(_NOT_DEAD)
            created_s = connection.execute(oldest).scalar_one()
            if created_s is None:
                return 0.0
            return max(0.0, self._database.now_s(connection) - float(created_s))

    def dead(self, limit: int) -> list[StoredNotice]:
        latest = (table.c.changed_s.desc(), table.c.id.desc())
        query = select(*_FIELDS).where(_DEAD).order_by(*latest).limit(limit)
        with self._database.reading() as connection:
            return [StoredNotice(*row) for row in connection.execute(query)]

    def prune(self) -> int:
        def change(connection: Connection) -> int:
            before_s = self._database.now_s(connection) - KEEP_S
            given_up = delete(table).where(_DEAD, table.c.changed_s < before_s)
            not_sent = delete(table).where(_NOT_DEAD, table.c.created_s < before_s)
            return sum(connection.execute(old).rowcount for old in (given_up, not_sent))

        return self._database.run(change)

    def _any_due(self) -> bool:
        with self._database.reading() as connection:
            due = table.c.due_s <= self._database.now_s(connection)
            query = select(table.c.id).where(_QUEUED, due).limit(1)
            return connection.execute(query).first() is not None

    def _settle(self, notice: StoredNotice, delay_s: float, **values: Any) -> None:
        def change(connection: Connection) -> None:
            now_s = self._database.now_s(connection)
            still_claimed = (_is(notice), _RUNNING, table.c.calls == notice.calls)
            settled = update(table).where(*still_claimed)
            connection.execute(settled.values(due_s=now_s + delay_s, changed_s=now_s, **values))

        self._database.run(change)

    def _run(self, statement: Any) -> None:
        self._database.run(lambda connection: connection.execute(statement))


def _is(notice: StoredNotice) -> ColumnElement[bool]:
    # SQLite may give the id of a deleted row to a new row, so the message's own id is compared.
    return table.c.message_id == notice.message_id


def _count(condition: TextClause, *order: ColumnElement[Any]) -> Select[Any]:
    # The order is that of an index, so PostgreSQL reads the index instead of the whole table.
    rows = select(table.c.id).where(condition).order_by(*order).limit(MAX_COUNTED).subquery()
    return select(func.count()).select_from(rows)


_COUNTS = {
    "queued": _count(_QUEUED, table.c.due_s, table.c.id),
    "running": _count(_RUNNING, table.c.lease_until_s),
    "dead": _count(_DEAD, table.c.changed_s, table.c.id),
}
