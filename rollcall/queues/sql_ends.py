"""How calls end in `work` and `finished`: done, dead, or queued again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from rollcall.core.index_documents import failed_document
from rollcall.core.texts import storable
from rollcall.core.work import Notice, Work
from rollcall.database.json_rows import as_rows
from rollcall.queues.sql_outbox import insert_notices
from rollcall.queues.sql_statements import Statements

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
    document: str = ""


def end_calls(
    connection: Connection,
    sql: Statements,
    now_s: float | None,
    ends: Sequence[End],
    changes: Changes,
) -> list[bool]:
    """End the calls, and return for each whether its work was still claimed.

    Work is no longer claimed if it has ended, or was claimed again, which increases `calls`. If the
    lease expired, but nobody has claimed the work since, the work is queued and still matches.
    """
    rows = {_call_of(end): _row(end) for end in reversed(ends)}
    found = _end(connection, sql, now_s, rows.values())
    held, ended = [], []
    for end in ends:
        call = _call_of(end)
        held.append(call in found)
        if call in found:
            found.remove(call)
            ended.append(end)
            if end.state != "queued":
                changes["queued", ""] -= 1
                changes[end.state, storable(end.code)] += 1
    if ended:
        insert_notices(connection, sql, [end.notice for end in ended if end.notice], now_s)
        insert_documents(connection, sql, map(_document, ended), now_s)
        objects = sorted({(end.work.bucket, end.work.key) for end in ended})
        # A new statement has a new snapshot in PostgreSQL, so it sees every row that another
        # trigger has put behind these objects' rows before we could take them out of the line.
        released = as_rows({"bucket": bucket, "key": key} for bucket, key in objects)
        connection.execute(sql.release, {"rows": released, "now_s": now_s})
    return held


def bury_unclaimed(
    connection: Connection,
    sql: Statements,
    now_s: float,
    id_: int,
    identity: str,
    code: str,
    message: str,
) -> None:
    """Make work that was never claimed a dead letter."""
    row = {"id": id_, "calls": 0, "identity": identity, "state": "dead"}
    end = {"code": code, "message": message, "delay_s": 0, "uncounted": 0}
    _end(connection, sql, now_s, [{**row, **end}])


def insert_documents(
    connection: Connection, sql: Statements, documents: Iterable[str], now_s: float | None
) -> None:
    """Store the documents about results, without empty ones, for the indexer."""
    rows = [{"document": document} for document in documents if document]
    if rows:
        connection.execute(sql.unindexed, {"rows": as_rows(rows), "now_s": now_s})


def _document(end: End) -> str:
    if end.state == "dead":
        return failed_document(end.work, end.code, end.message)
    return end.document


def _call_of(end: End) -> tuple[int, int, str]:
    return end.work.id, end.work.calls, end.work.identity


def _row(end: End) -> dict[str, Any]:
    return {
        "id": end.work.id,
        "calls": end.work.calls,
        "identity": end.work.identity,
        "state": end.state,
        "code": storable(end.code),
        "message": storable(end.message),
        "delay_s": end.delay_s,
        "uncounted": int(not end.counts),
    }


def _end(
    connection: Connection, sql: Statements, now_s: float | None, rows: Iterable[dict[str, Any]]
) -> set[tuple[int, int, str]]:
    values = {"rows": as_rows(rows), "now_s": now_s}
    results = [connection.execute(statement, values) for statement in sql.end]
    return {tuple(row) for each in results if each.returns_rows for row in each}


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
