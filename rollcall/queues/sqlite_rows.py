"""The SQL of queued rows: their stages and turns, which `queue_order` explains.

Each query names its partial index with INDEXED BY, because SQLite's planner would often choose a
larger one. The cost of a query must depend neither on the amount of finished work nor on that of
waiting work (tests/unit/test_sqlite_queue.py measures it).
"""

from __future__ import annotations

import sqlite3

from rollcall.queues.queue_order import (
    BEHIND,
    IN_LINE,
    LOOK_AHEAD,
    Candidate,
    first_of_each_prefix,
    next_turn,
    prefix_of,
)

MAX_DUE = 500
"""How many due retries join the line in one transaction. The rest join at the next claims."""

_NEW = "state='queued' AND stage=1 AND attempts=0"
_RETRIES = "state='queued' AND stage=1 AND attempts>0"
_RESTING = "state='queued' AND stage=0"
_BEHIND = "state='queued' AND stage=2"

_LINE = "SELECT id, prefix, turn, attempts>0 FROM work INDEXED BY"
_LINE_OF_NEW = f"{_LINE} work_new WHERE {_NEW} ORDER BY turn, id LIMIT ?"
_LINE_OF_RETRIES = f"{_LINE} work_again WHERE {_RETRIES} ORDER BY turn, id LIMIT ?"

_LAST = "SELECT max(turn) FROM work INDEXED BY"
_LAST_NEW = f"{_LAST} work_new_prefix WHERE prefix=? AND {_NEW}"
_LAST_RETRY = f"{_LAST} work_again_prefix WHERE prefix=? AND {_RETRIES}"
_FRONT = "SELECT min(turn) FROM work INDEXED BY"
_FRONT_NEW = f"{_FRONT} work_new WHERE {_NEW}"
_FRONT_RETRY = f"{_FRONT} work_again WHERE {_RETRIES}"

_AHEAD = "SELECT 1 FROM work INDEXED BY work_ahead WHERE bucket=? AND key=? AND stage=1"

_DUE = "SELECT due_s, id, bucket, key, attempts FROM work INDEXED BY"
_DUE_NOW = f"{_DUE} work_resting WHERE {_RESTING} AND due_s <= ? ORDER BY due_s, id LIMIT ?"
_FROM_FUTURE = f"{_DUE} work_resting_since WHERE {_RESTING} AND changed_s > ? LIMIT ?"

_FIRST_BEHIND = (
    f"SELECT id FROM work INDEXED BY work_behind WHERE bucket=? AND key=? AND {_BEHIND}"
    " ORDER BY id LIMIT 1"
)
_FIRST_BEHIND_OF_EACH = (
    f"SELECT min(id) FROM work INDEXED BY work_behind WHERE {_BEHIND} GROUP BY bucket, key"
)
_RUNNING = (
    "SELECT prefix, count(*) FROM work INDEXED BY work_running WHERE state='running'"
    " GROUP BY prefix"
)


def stage_and_turn(
    db: sqlite3.Connection, bucket: str, key: str, *, is_retry: bool = False
) -> tuple[int, int]:
    """The stage and the turn of work that is due now."""
    if db.execute(_AHEAD, (bucket, key)).fetchone():
        return BEHIND, 0
    last, front = (_LAST_RETRY, _FRONT_RETRY) if is_retry else (_LAST_NEW, _FRONT_NEW)
    (last_turn,) = db.execute(last, (prefix_of(key),)).fetchone()
    (front_turn,) = db.execute(front).fetchone()
    return IN_LINE, next_turn(last_turn, front_turn)


def line_up_due(db: sqlite3.Connection, now_s: float) -> None:
    """Move resting work that is due into the line, or behind other work for its object."""
    # A change in the future means that the clock was set back since, while no trigger ran. The due
    # time cannot be trusted then, so the work counts as due.
    due = {*db.execute(_DUE_NOW, (now_s, MAX_DUE)), *db.execute(_FROM_FUTURE, (now_s, MAX_DUE))}
    for _, id_, bucket, key, attempts in sorted(due):
        stage, turn = stage_and_turn(db, bucket, key, is_retry=attempts > 0)
        db.execute("UPDATE work SET stage=?, turn=? WHERE id=?", (stage, turn, id_))


def release_next(db: sqlite3.Connection, bucket: str, key: str, now_s: float) -> None:
    """Of the work that waits behind other work for this object, make the oldest due."""
    db.execute(f"UPDATE work SET stage=0, due_s=? WHERE id=({_FIRST_BEHIND})", (now_s, bucket, key))


def repair_stages(db: sqlite3.Connection, now_s: float) -> None:
    """Correct the stages in a file that an earlier version of Rollcall may have written.

    Earlier versions ended work without releasing the next work for the same object. So the oldest
    waiting work of each object is made due. It waits again if other work really is ahead of it.
    """
    db.execute("UPDATE work SET stage=0 WHERE stage=1 AND state IN ('done', 'dead')")
    db.execute(f"UPDATE work SET stage=0, due_s=? WHERE id IN ({_FIRST_BEHIND_OF_EACH})", (now_s,))


def candidates(db: sqlite3.Connection) -> list[Candidate]:
    """The first work of each prefix near the front of each of the two lines."""
    found: list[Candidate] = []
    for line in (_LINE_OF_NEW, _LINE_OF_RETRIES):
        found += first_of_each_prefix(map(Candidate._make, db.execute(line, (LOOK_AHEAD,))))
    return found


def running_prefixes(db: sqlite3.Connection) -> dict[str, int]:
    """The number of running calls of each prefix."""
    return dict(db.execute(_RUNNING).fetchall())
