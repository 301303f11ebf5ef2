"""The rows of work that is queued: their stages and turns, which `queue_order` explains.

Each query names its partial index, because SQLite would often choose a wide one: the cost of a call
must not depend on how much was ever done, or waits.
"""

from __future__ import annotations

import sqlite3

from rollcall.queues.queue_order import BEHIND, IN_LINE, LOOK_AHEAD, Candidate, prefix_of

MAX_DUE = 500
"""Retries that are put into line at once."""

_NEW = "state='queued' AND stage=1 AND attempts=0"
_AGAIN = "state='queued' AND stage=1 AND attempts>0"
_RESTING = "state='queued' AND stage=0"
_BEHIND = "state='queued' AND stage=2"

_NEXT = "SELECT id, prefix, turn, attempts>0 FROM work INDEXED BY"
_NEXT_NEW = f"{_NEXT} work_new WHERE {_NEW} ORDER BY turn, id LIMIT ?"
_NEXT_AGAIN = f"{_NEXT} work_again WHERE {_AGAIN} ORDER BY turn, id LIMIT ?"

_LAST = "SELECT max(turn) FROM work INDEXED BY"
_LAST_NEW = f"{_LAST} work_new_prefix WHERE prefix=? AND {_NEW}"
_LAST_AGAIN = f"{_LAST} work_again_prefix WHERE prefix=? AND {_AGAIN}"
_FRONT = "SELECT min(turn) FROM work INDEXED BY"
_FRONT_NEW = f"{_FRONT} work_new WHERE {_NEW}"
_FRONT_AGAIN = f"{_FRONT} work_again WHERE {_AGAIN}"

_AHEAD = "SELECT 1 FROM work INDEXED BY work_ahead WHERE bucket=? AND key=? AND stage=1"

_DUE = "SELECT due_s, id, bucket, key, attempts FROM work INDEXED BY"
_DUE_NOW = f"{_DUE} work_resting WHERE {_RESTING} AND due_s <= ? ORDER BY due_s, id LIMIT ?"
_DUE_LATER = f"{_DUE} work_resting_since WHERE {_RESTING} AND changed_s > ? LIMIT ?"

_FIRST_BEHIND = (
    f"SELECT id FROM work INDEXED BY work_behind WHERE bucket=? AND key=? AND {_BEHIND}"
    " ORDER BY id LIMIT 1"
)
_EACH_BEHIND = (
    f"SELECT min(id) FROM work INDEXED BY work_behind WHERE {_BEHIND} GROUP BY bucket, key"
)
_RUNNING = (
    "SELECT prefix, count(*) FROM work INDEXED BY work_running WHERE state='running'"
    " GROUP BY prefix"
)


def place(db: sqlite3.Connection, bucket: str, key: str, *, again: bool = False) -> tuple[int, int]:
    """Stage and turn of work that is due now; `again` for a retry."""
    if db.execute(_AHEAD, (bucket, key)).fetchone():
        return BEHIND, 0
    last, front = (_LAST_AGAIN, _FRONT_AGAIN) if again else (_LAST_NEW, _FRONT_NEW)
    (last_turn,) = db.execute(last, (prefix_of(key),)).fetchone()
    (front_turn,) = db.execute(front).fetchone()
    return IN_LINE, max(front_turn or 0, 0 if last_turn is None else last_turn + 1)


def queue_due(db: sqlite3.Connection, now_s: float) -> None:
    """Puts work whose time has come into line.

    Work that changed in the future counts as due: the clock was set back while no trigger ran.
    """
    due = {*db.execute(_DUE_NOW, (now_s, MAX_DUE)), *db.execute(_DUE_LATER, (now_s, MAX_DUE))}
    for _, id_, bucket, key, attempts in sorted(due):
        stage, turn = place(db, bucket, key, again=attempts > 0)
        db.execute("UPDATE work SET stage=?, turn=? WHERE id=?", (stage, turn, id_))


def release(db: sqlite3.Connection, bucket: str, key: str, now_s: float) -> None:
    """Makes the oldest work that stands behind another one of this object due."""
    db.execute(f"UPDATE work SET stage=0, due_s=? WHERE id=({_FIRST_BEHIND})", (now_s, bucket, key))


def release_all(db: sqlite3.Connection, now_s: float) -> None:
    """At a start: an earlier version may have ended work without a look at its stage."""
    db.execute("UPDATE work SET stage=0 WHERE stage=1 AND state IN ('done', 'dead')")
    db.execute(f"UPDATE work SET stage=0, due_s=? WHERE id IN ({_EACH_BEHIND})", (now_s,))


def candidates(db: sqlite3.Connection) -> list[Candidate]:
    """The first work of each prefix, among those near the front of both lines."""
    found: list[Candidate] = []
    for line in (_NEXT_NEW, _NEXT_AGAIN):
        first: dict[str, tuple[int, str, int, bool]] = {}
        for row in db.execute(line, (LOOK_AHEAD,)):
            first.setdefault(row[1], row)
        found += map(Candidate._make, first.values())
    return found


def running_prefixes(db: sqlite3.Connection) -> dict[str, int]:
    """How many calls of each prefix run."""
    return dict(db.execute(_RUNNING).fetchall())
