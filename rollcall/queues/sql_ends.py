"""How calls end in `work` and `finished`: done, dead, or queued again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from rollcall.core.work import Notice, Work
from rollcall.queues.queue_rules import storable
from rollcall.queues.sql_outbox import insert_notices
from rollcall.queues.sql_statements import Statements, as_rows

Changes = Counter[tuple[str, str]]
"""How the counts of `tally` change, by state and code."""


class End(NamedTuple):
    """The end of a call."""

    work: Work
    state: str
    """`done` or `dead`; `queued` for a retry."""
    code: str
    message: str = ""
    delay_s: float = 0.0
    counts: bool = True
    notice: Notice | None = None


def end_calls(
    connection: Connection, sql: Statements, now_s: float, ends: Sequence[End], changes: Changes
) -> list[bool]:
    """End the calls, and return for each whether its work was still claimed.

    Work is no longer claimed if it has ended, or was claimed again, which increases `calls`. If the
    lease expired, but nobody has claimed the work since, the work is queued and still matches.
    """
    rows = as_rows({"id": end.work.id, "calls": end.work.calls} for end in ends)
    states = {(id_, calls): state for id_, calls, state in _claimed(connection, sql, rows)}
    held, ended = [], []
    for end in ends:
        state = states.pop((end.work.id, end.work.calls), None)
        held.append(state is not None)
        if state is not None:
            ended.append(end)
            changes[state, ""] -= 1
            changes[end.state, "" if end.state == "queued" else storable(end.code)] += 1
    if ended:
        _finish(connection, sql, now_s, [end for end in ended if end.state != "queued"])
        _retry(connection, sql, now_s, [end for end in ended if end.state == "queued"])
        objects = sorted({(end.work.bucket, end.work.key) for end in ended})
        # A new statement has a new snapshot in PostgreSQL, so it sees every row that another
        # trigger has put behind these objects' rows before we could take them out of the line.
        rows = as_rows({"bucket": bucket, "key": key} for bucket, key in objects)
        connection.execute(sql.release, {"rows": rows, "now_s": now_s})
    return held


def _claimed(connection: Connection, sql: Statements, rows: str) -> Any:
    return connection.execute(sql.claimed, {"rows": rows})


def _finish(connection: Connection, sql: Statements, now_s: float, ends: Sequence[End]) -> None:
    if not ends:
        return
    finish(
        connection,
        sql,
        now_s,
        [
            {
                "id": end.work.id,
                "state": end.state,
                "code": storable(end.code),
                "message": storable(end.message),
            }
            for end in ends
        ],
    )
    insert_notices(connection, sql, [end.notice for end in ends if end.notice], now_s)


def finish(
    connection: Connection, sql: Statements, now_s: float, rows: Sequence[dict[str, Any]]
) -> None:
    """Move rows of `work` to `finished`. Each has an id, and the new state, code and message."""
    connection.execute(sql.finish, {"rows": as_rows(rows), "now_s": now_s})
    connection.execute(sql.delete, {"ids": sql.ids(row["id"] for row in rows)})


def _retry(connection: Connection, sql: Statements, now_s: float, ends: Sequence[End]) -> None:
    rows = [
        {
            "id": end.work.id,
            "delay_s": end.delay_s,
            "code": storable(end.code),
            "message": storable(end.message),
            "uncounted": int(not end.counts),
        }
        for end in ends
    ]
    if rows:
        connection.execute(sql.retry, {"rows": as_rows(rows), "now_s": now_s})


def record(connection: Connection, sql: Statements, slot: int, changes: Changes) -> None:
    """Add the changes to `tally`. This has to be the last statement of its transaction.

    Other transactions that change the same rows wait until this one is committed.
    """
    rows = [
        {"state": state, "code": code, "count": count}
        for (state, code), count in sorted(changes.items())
        if count
    ]
    if rows:
        connection.execute(sql.tally, {"rows": as_rows(rows), "slot": slot})
