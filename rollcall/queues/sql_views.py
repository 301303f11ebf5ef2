"""What pages, metrics and commands read from the work queue. Counts come from `tally`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Text, bindparam, text

from rollcall.core.work import WORK_STATES, Work
from rollcall.queues.sql_statements import FIELDS

_COUNTS = text(
    "SELECT state, sum(count) FROM tally GROUP BY state"
    " UNION ALL SELECT 'calls', count(*) FROM work WHERE state='running'"
)
_CODES = text(
    "SELECT state, code, sum(count) FROM tally WHERE state IN ('done', 'dead')"
    " GROUP BY state, code HAVING sum(count) <> 0"
)


def counts(connection: Connection) -> dict[str, int]:
    """The number of pieces of work in each state, and of bad events."""
    found = {state: int(count) for state, count in connection.execute(_COUNTS)}
    # Only a few calls run at once, so they can be counted.
    running = found.pop("calls")
    found["queued"] = found.get("queued", 0) + found.get("running", 0) - running
    found["running"] = running
    return {state: found.get(state, 0) for state in (*WORK_STATES, "bad")}


def codes(connection: Connection) -> dict[tuple[str, str], int]:
    """The number of pieces of work that are done or dead, by state and code."""
    return {(state, code): int(count) for state, code, count in connection.execute(_CODES)}


# The primary key is in the order of receipt, so this reads one row, besides those of running calls.
_OLDEST = text("SELECT received_s FROM work WHERE state='queued' ORDER BY id LIMIT 1")


def oldest_received_s(connection: Connection) -> float | None:
    """When the oldest queued work was received; None if there is none."""
    received_s: float | None = connection.execute(_OLDEST).scalar()
    return received_s


_NEWEST = "ORDER BY changed_s DESC, id DESC LIMIT :limit"
_TABLE_OF = {"queued": "work", "running": "work", "done": "finished", "dead": "finished"}


def _of_state(state: str) -> str:
    return f"SELECT {FIELDS} FROM {_TABLE_OF[state]} WHERE state='{state}' {_NEWEST}"


_LATEST = {state: text(_of_state(state)) for state in WORK_STATES}
_LATEST_OF_ALL = text(
    f"SELECT * FROM (SELECT {FIELDS} FROM work {_NEWEST}) AS w UNION ALL"
    f" SELECT * FROM (SELECT {FIELDS} FROM finished {_NEWEST}) AS f {_NEWEST}"
)


def latest(connection: Connection, limit: int, state: str) -> list[Work]:
    """The work that changed last, newest first."""
    if state and state not in _LATEST:
        return []
    query = _LATEST[state] if state else _LATEST_OF_ALL
    return [Work(*row) for row in connection.execute(query, {"limit": limit})]


_HISTORY = text(
    f"SELECT {FIELDS} FROM work WHERE bucket=:bucket AND key=:key UNION ALL"
    f" SELECT {FIELDS} FROM finished WHERE bucket=:bucket AND key=:key"
    " ORDER BY id DESC LIMIT :limit"
)


def history(connection: Connection, bucket: str, key: str, limit: int) -> list[Work]:
    """All work for one video, newest first."""
    values = {"bucket": bucket, "key": key, "limit": limit}
    return [Work(*row) for row in connection.execute(_HISTORY, values)]


_ALL_DEAD = text("SELECT id FROM finished WHERE state='dead' ORDER BY id")
_UNSETTLED = text("SELECT key FROM work WHERE bucket=:bucket AND key IN :keys").bindparams(
    bindparam("keys", expanding=True, type_=Text)
)
_DEAD_KEYS = text(
    "SELECT DISTINCT key FROM finished WHERE state='dead' AND bucket=:bucket AND key > :after"
    " ORDER BY key LIMIT :limit"
)


def dead_ids(connection: Connection) -> list[int]:
    """The ids of all dead letters."""
    return list(connection.execute(_ALL_DEAD).scalars())


def unsettled(connection: Connection, bucket: str, keys: Sequence[str]) -> set[str]:
    """Those of the keys that have queued or running work."""
    return set(connection.execute(_UNSETTLED, {"bucket": bucket, "keys": keys}).scalars())


def dead(connection: Connection, bucket: str, after: str, limit: int) -> list[str]:
    """The first keys after `after` that have a dead letter, sorted."""
    values = {"bucket": bucket, "after": after, "limit": limit}
    return list(connection.execute(_DEAD_KEYS, values).scalars())
