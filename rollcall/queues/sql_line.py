"""How rows of `work` join the line, and are claimed. `queue_order` explains the stages.

Only one row of an object is IN_LINE at a time; a unique index makes sure of that. A row that finds
another row ahead becomes BEHIND. Whoever takes the row ahead out of the line then makes the oldest
row behind it due (`release`). In PostgreSQL, the row ahead may be taken out at the same moment by
another trigger, which would not see the new row behind it. So the row ahead is locked first (FOR
SHARE): either it is gone before the lock, or its trigger waits for the lock and sees the new row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from rollcall.core.texts import storable
from rollcall.core.work import Work
from rollcall.database.json_rows import as_rows
from rollcall.queues.queue_order import (
    BEHIND,
    IN_LINE,
    LOOK_AHEAD,
    RESTING,
    Candidate,
    next_turn,
    prefix_of,
)
from rollcall.queues.queue_rules import NewWork, indexable, same_upload_times
from rollcall.queues.sql_statements import Statements

MAX_DUE = 500
"""How many due retries join the line in one transaction. The rest join at the next claims."""


Choose = Callable[[Sequence[Candidate], Mapping[str, int], int], list[Candidate]]
"""See `FairOrder.choose_batch`."""


class Places:
    """The places in line for a batch of rows. Each argument is (bucket, key, is it a retry)."""

    def __init__(
        self, connection: Connection, sql: Statements, joining: Iterable[tuple[str, str, bool]]
    ) -> None:
        joining = list(joining)
        objects = sorted({(bucket, key) for bucket, key, _ in joining})
        self._ahead: set[tuple[str, str]] = set()
        self._last: dict[tuple[bool, str], int | None] = {}
        """The last turn of each prefix in each line."""
        self._front: dict[bool, int | None] = {}
        """The first turn of each line."""
        for is_retry in sorted({each[2] for each in joining}):
            prefixes = {prefix_of(key) for _, key, retry in joining if retry == is_retry}
            values = {
                "rows": as_rows({"bucket": bucket, "key": key} for bucket, key in objects),
                "prefixes": as_rows({"prefix": prefix} for prefix in prefixes),
            }
            for kind, bucket, text, turn in connection.execute(sql.places[is_retry], values):
                if kind == "ahead":
                    self._ahead.add((bucket, text))
                elif kind == "last":
                    self._last[is_retry, text] = turn
                else:
                    self._front[is_retry] = turn

    def next(self, bucket: str, key: str, is_retry: bool) -> tuple[int, int]:
        """The stage and the turn of the next row of the batch."""
        if (bucket, key) in self._ahead:
            return BEHIND, 0
        self._ahead.add((bucket, key))
        prefix, front = prefix_of(key), self._front[is_retry]
        turn = next_turn(self._last[is_retry, prefix], front)
        self._last[is_retry, prefix] = turn
        if front is None:
            self._front[is_retry] = turn
        return IN_LINE, turn


def find_new(connection: Connection, sql: Statements, events: Sequence[NewWork]) -> list[bool]:
    """Whether each event is new; the new ones are recorded as seen."""
    rows, first = {}, {}
    for n, event in enumerate(events):
        identity = indexable(event.identity)
        if identity not in first:
            first[identity] = n
            rows[identity] = _upload_row(event)
    values = {"rows": as_rows(rows[identity] for identity in sorted(rows))}
    new = {first[identity] for (identity,) in connection.execute(sql.see, values)}
    return [n in new for n in range(len(events))]


def _upload_row(event: NewWork) -> dict[str, Any]:
    after_s, before_s = same_upload_times(event) or (None, None)
    return {
        "identity": indexable(event.identity),
        "bucket": event.video.bucket,
        "key": event.video.key,
        "etag": indexable(event.video.etag),
        "after_s": after_s,
        "before_s": before_s,
    }


def insert(
    connection: Connection, sql: Statements, now_s: float | None, new: Sequence[NewWork]
) -> list[bool]:
    """Insert works, each in the line, or behind other work for its object.

    Returns for each work whether it was inserted. It is not if another trigger's reconciler has
    queued the same upload since `find_new`.
    """
    places = Places(connection, sql, ((each.video.bucket, each.video.key, False) for each in new))
    rows = [_row(each, *places.next(each.video.bucket, each.video.key, False)) for each in new]
    inserted = _insert(connection, sql, now_s, rows)
    # The refused works met work of another trigger for their object, which is in line since.
    refused = [row for row in rows if row["identity"] not in inserted]
    known = _find_crossed(connection, sql, new, rows, refused)
    if known:
        ids = [id_ for identity, id_ in inserted.items() if identity in known]
        connection.execute(sql.delete, {"ids": sql.ids(ids)})
    rest = [row for row in refused if row["identity"] not in known]
    insert_resting(connection, sql, now_s, rest)
    return [row["identity"] not in known for row in rows]


def _find_crossed(
    connection: Connection,
    sql: Statements,
    new: Sequence[NewWork],
    rows: Sequence[dict[str, Any]],
    refused: Sequence[dict[str, Any]],
) -> set[str]:
    """The identities of works whose upload a reconciler has queued since `find_new`.

    Only other triggers can have done so, and only if there is other work for the object now.
    """
    if not sql.shared:
        return set()
    unsure = {row["identity"] for row in refused}
    unsure |= {row["identity"] for row in rows if row["stage"] == BEHIND}
    events = [event for event, row in zip(new, rows, strict=True) if row["identity"] in unsure]
    if not events:
        return set()
    found = connection.execute(sql.found, {"rows": as_rows(map(_upload_row, events))})
    uploads = set(found.scalars())
    return {storable(event.identity) for event in events if indexable(event.identity) in uploads}


def insert_first(
    connection: Connection, sql: Statements, now_s: float | None, new: NewWork
) -> bool:
    """Insert work in the line, and return True; do nothing if there is work for its object."""
    bucket, key = new.video.bucket, new.video.key
    stage, turn = Places(connection, sql, [(bucket, key, False)]).next(bucket, key, False)
    return stage == IN_LINE and bool(_insert(connection, sql, now_s, [_row(new, stage, turn)]))


def _insert(
    connection: Connection, sql: Statements, now_s: float | None, rows: Iterable[dict[str, Any]]
) -> dict[str, int]:
    """Insert rows, except those that want the place in line of another row.

    Returns the ids of the inserted rows by their identities.
    """
    inserted = connection.execute(sql.insert, {"rows": as_rows(rows), "now_s": now_s})
    return {identity: id_ for id_, identity in inserted}


def insert_resting(
    connection: Connection, sql: Statements, now_s: float | None, rows: Iterable[dict[str, Any]]
) -> list[int]:
    """Insert rows that join the line at the next claim, and return their ids."""
    resting = [{**row, "stage": RESTING, "turn": 0} for row in rows]
    return list(_insert(connection, sql, now_s, resting).values()) if resting else []


def row_of(new: NewWork) -> dict[str, Any]:
    """The columns of new work, for `insert_resting`."""
    return _row(new, RESTING, 0)


def _row(new: NewWork, stage: int, turn: int) -> dict[str, Any]:
    video = new.video
    return {
        "identity": storable(new.identity),
        "bucket": video.bucket,
        "key": video.key,
        "version_id": storable(video.version_id),
        "etag": indexable(video.etag),
        "event_name": storable(video.event_name),
        "uploaded_s": new.uploaded_s,
        "origin": new.origin,
        "traceparent": storable(video.traceparent),
        "stage": stage,
        "prefix": prefix_of(video.key),
        "turn": turn,
    }


def claim(
    connection: Connection,
    sql: Statements,
    now_s: float | None,
    limit: int,
    lease_s: float,
    choose: Choose,
) -> list[Work]:
    """Lease the next works, in the order in which they should be called."""
    line, running, some_due = _look(connection, sql, now_s, limit)
    if some_due:
        line_up_due(connection, sql, now_s)
        line, running, _ = _look(connection, sql, now_s, limit)
    chosen = [each.id for each in choose(line, running, limit)]
    if not chosen:
        return []
    values = {"ids": sql.ids(chosen), "now_s": now_s, "lease_s": lease_s}
    claimed = {row[0]: Work(*row) for row in connection.execute(sql.claim, values)}
    return [claimed[id_] for id_ in chosen]


def _look(
    connection: Connection, sql: Statements, now_s: float | None, limit: int
) -> tuple[list[Candidate], dict[str, int], bool]:
    """The front of both lines, the running calls of each prefix, and whether any work is due."""
    line, running, some_due = list[Candidate](), dict[str, int](), False
    values = {"limit": LOOK_AHEAD + limit - 1, "now_s": now_s}
    for kind, id_, prefix, number in connection.execute(sql.look, values):
        if kind == "running":
            running[prefix] = number
        elif kind == "due":
            some_due = True
        else:
            line.append(Candidate(id_, prefix, number, kind == "again"))
    return line, running, some_due


def line_up_due(connection: Connection, sql: Statements, now_s: float | None) -> None:
    """Move resting work that is due into the line, or behind other work for its object."""
    found = connection.execute(sql.due, {"now_s": now_s, "limit": MAX_DUE})
    due = [(id_, bucket, key, bool(is_retry)) for id_, bucket, key, is_retry in found]
    if not due:
        return
    places = Places(connection, sql, ((bucket, key, retry) for _, bucket, key, retry in due))
    rows = []
    for id_, bucket, key, is_retry in due:
        stage, turn = places.next(bucket, key, is_retry)
        rows.append({"id": id_, "stage": stage, "turn": turn})
    try:
        with connection.begin_nested():
            connection.execute(sql.line_up, {"rows": as_rows(rows)})
    except IntegrityError:
        # Another trigger has put work for one of these objects into the line since. The works stay
        # due, and the next claim sees that other work.
        return
