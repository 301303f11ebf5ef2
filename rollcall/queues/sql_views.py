"""What pages, metrics and commands read from the work queue. Counts come from `tally`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Text, TextClause, bindparam, text

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
_RUNNING = f"SELECT {FIELDS} FROM work WHERE state='running' {_NEWEST}"
# The waiting work that changed last is work that came last, or that was retried last. There is no
# index on `changed_s`, because every call would have to update it.
_CAME_LAST = f"SELECT {FIELDS} FROM work WHERE state='queued' ORDER BY id DESC LIMIT :limit"
_RESTS_LONGEST = (
    f"SELECT {FIELDS} FROM work WHERE state='queued' AND stage=0"
    " ORDER BY due_s DESC, id DESC LIMIT :limit"
)
_QUEUED = f"SELECT * FROM ({_CAME_LAST}) AS c UNION SELECT * FROM ({_RESTS_LONGEST}) AS r"
_ENDED = f"SELECT {FIELDS} FROM finished {_NEWEST}"


def _newest(*queries: str) -> TextClause:
    parts = (f"SELECT * FROM ({query}) AS part{n}" for n, query in enumerate(queries))
    return text(f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS parts {_NEWEST}")


_LATEST = {
    "queued": _newest(_QUEUED),
    "running": text(_RUNNING),
    "done": text(f"SELECT {FIELDS} FROM finished WHERE state='done' {_NEWEST}"),
    "dead": text(f"SELECT {FIELDS} FROM finished WHERE state='dead' {_NEWEST}"),
    "": _newest(_RUNNING, _QUEUED, _ENDED),
}


def latest(connection: Connection, limit: int, state: str) -> list[Work]:
    """The work that changed last, newest first.

    If more works than `limit` wait, it shows only those that came last, and the retries that are
    due last.
    """
    query = _LATEST.get(state)
    if query is None:
        return []
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
