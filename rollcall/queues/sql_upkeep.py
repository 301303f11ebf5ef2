"""The rarer changes of the work queue: what the reconciler, commands and housekeeping do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import Connection, bindparam, text

from rollcall.core.index_documents import failed_document, pointer_document
from rollcall.core.types import ObjectInfo
from rollcall.core.work import Notice, Work
from rollcall.queues import sql_line
from rollcall.queues.queue_rules import (
    FOUND_PERIOD_S,
    MAX_FOUND,
    NO_RESULT,
    NO_RESULT_CODE,
    NewWork,
    indexable,
    work_again,
)
from rollcall.queues.sql_ends import Changes, bury_unclaimed, insert_documents
from rollcall.queues.sql_outbox import insert_notices
from rollcall.queues.sql_statements import FIELDS, Statements

CHUNK = 1000
"""Limit on the rows that one transaction moves or deletes, so that others do not wait for long."""


def in_chunks(change: Callable[[], int]) -> Iterator[int]:
    """Call `change` until it changes fewer than CHUNK rows; yield each number of rows."""
    count = CHUNK
    while count >= CHUNK:
        count = change()
        yield count


_ADD_BAD = text(
    "INSERT INTO bad_event (received_s, reason, body) VALUES (:received_s, :reason, :body)"
)
_TRIM_BAD = text(
    "DELETE FROM bad_event WHERE id <="
    " (SELECT id FROM bad_event ORDER BY id DESC LIMIT 1 OFFSET :keep)"
)


def add_bad_event(
    connection: Connection, now_s: float, reason: str, body: bytes, keep: int, changes: Changes
) -> None:
    """Record a bad event, and delete the oldest ones so that `keep` remain."""
    values = {"received_s": now_s, "reason": reason, "body": body}
    connection.execute(_ADD_BAD, values)
    deleted = connection.execute(_TRIM_BAD, {"keep": keep}).rowcount
    changes["bad", ""] += 1 - deleted


_FOUND = text(
    "INSERT INTO found_upload (bucket, key, etag, uploaded_s, found_s)"
    " VALUES (:bucket, :key, :etag, :modified_s, :now_s)"
)
_TIMES_FOUND = text(
    "SELECT count(*) FROM (SELECT 1 FROM found_upload WHERE bucket=:bucket AND key=:key"
    " AND etag=:etag AND found_s > :after_s LIMIT :limit) AS found"
)


_ENDED = text(f"SELECT {FIELDS} FROM finished WHERE id=:id")


def add_missing(
    connection: Connection,
    sql: Statements,
    now_s: float,
    info: ObjectInfo,
    results_s: float,
    new: NewWork,
    write_notice: Callable[[Work], Notice | None],
    changes: Changes,
) -> bool:
    """Queue a listed object without a result; see `WorkQueue.add_missing`."""
    upload = {"bucket": info.bucket, "key": info.key, "etag": indexable(info.etag)}
    values = {**upload, "modified_s": info.modified_s, "now_s": now_s}
    if connection.execute(sql.settled, {**values, "results_s": results_s}).first():
        return False
    limits = {"after_s": now_s - FOUND_PERIOD_S, "limit": MAX_FOUND}
    if connection.execute(_TIMES_FOUND, {**upload, **limits}).scalar_one() >= MAX_FOUND:
        row = sql_line.row_of(new)
        (id_,) = sql_line.insert_resting(connection, sql, now_s, [row])
        bury_unclaimed(connection, sql, now_s, id_, row["identity"], NO_RESULT_CODE, NO_RESULT)
        dead = Work(*connection.execute(_ENDED, {"id": id_}).one())
        notice = write_notice(dead)
        insert_notices(connection, sql, [notice] if notice else [], now_s)
        document = failed_document(dead, NO_RESULT_CODE, NO_RESULT)
        insert_documents(connection, sql, [document], now_s)
        changes["dead", NO_RESULT_CODE] += 1
    elif sql_line.insert_first(connection, sql, now_s, new):
        changes["queued", ""] += 1
    else:
        return False  # another trigger has queued work for the object since
    connection.execute(_FOUND, values)
    return True


_RESULT_FOUND = text(
    "UPDATE finished SET state='done', code='result_found', message='', changed_s=:now_s"
    " WHERE state='dead' AND id=:id"
)


def result_found(
    connection: Connection, sql: Statements, now_s: float, info: ObjectInfo, changes: Changes
) -> int:
    """Mark the dead letters of an upload as done."""
    upload = {"bucket": info.bucket, "key": info.key, "etag": indexable(info.etag)}
    count = 0
    for id_, code in connection.execute(sql.dead_of_upload, upload).all():
        if connection.execute(_RESULT_FOUND, {"id": id_, "now_s": now_s}).rowcount:
            changes["dead", code] -= 1
            changes["done", "result_found"] += 1
            count += 1
    if count:
        pointer = pointer_document(info.bucket, info.key)
        insert_documents(connection, sql, [pointer], now_s)
    return count


def replay(
    connection: Connection, sql: Statements, now_s: float, ids: Sequence[int], changes: Changes
) -> int:
    """Move dead letters back to `work`. Those that have been moved already are left out."""
    dead = connection.execute(sql.dead_codes, {"ids": sql.ids(ids)}).all()
    values = {"ids": sql.ids(id_ for id_, _ in dead)}
    connection.execute(sql.replay, {**values, "now_s": now_s})
    connection.execute(sql.drop_finished, values)
    for _, code in dead:
        changes["dead", code] -= 1
    changes["queued", ""] += len(dead)
    return len(dead)


# `+ 0` keeps PostgreSQL from walking through all ids, from the largest down.
_LAST_OF_KEY = "SELECT max(f.id + 0) FROM finished f WHERE f.bucket=:bucket AND f.key=:key"
_LAST = text(f"SELECT {FIELDS} FROM finished WHERE id=({_LAST_OF_KEY})")


def rerun(
    connection: Connection,
    sql: Statements,
    now_s: float,
    bucket: str,
    keys: Sequence[str],
    changes: Changes,
) -> list[str]:
    """Queue new work for finished videos, and return the keys that have any."""
    new = []
    for key in dict.fromkeys(keys):
        row = connection.execute(_LAST, {"bucket": bucket, "key": key}).first()
        if row:
            new.append(work_again(Work(*row)))
    if new:
        sql_line.insert(connection, sql, now_s, new)
    changes["queued", ""] += len(new)
    return [each.video.key for each in new]


_OLD = {
    # The state is a literal, because SQLite uses the index of dead letters only then.
    state: text(
        f"SELECT id, changed_s FROM finished WHERE state='{state}'"
        " AND changed_s < :before_s AND (changed_s, id) > (:after_s, :after_id)"
        " ORDER BY changed_s, id LIMIT :limit"
    )
    for state in ("done", "dead")
}
_FORGET = text("DELETE FROM seen_event WHERE identity IN :identities").bindparams(
    bindparam("identities", expanding=True)
)


def prune_ended(
    connection: Connection,
    sql: Statements,
    state: str,
    before_s: float,
    after: tuple[float, int],
    changes: Changes,
) -> tuple[int, tuple[float, int] | None]:
    """Delete the oldest work that ended in `state` before a time and after `after` (time, id).

    Returns how many works were found, and the time and id of the last one.
    """
    values = {"before_s": before_s, "after_s": after[0], "after_id": after[1], "limit": CHUNK}
    old = connection.execute(_OLD[state], values).all()
    if not old:
        return 0, None
    # Another process may have deleted or replayed some of the rows since.
    still_old = {"ids": sql.ids(id_ for id_, _ in old), "state": state, "before_s": before_s}
    deleted = connection.execute(sql.drop_old, still_old).all()
    if deleted:
        identities = sorted(indexable(identity) for identity, _ in deleted)
        connection.execute(_FORGET, {"identities": identities})
    for _, code in deleted:
        changes[state, code] -= 1
    last_id, last_changed_s = old[-1]
    return len(old), (last_changed_s, last_id)


_OLD_FOUND = text(
    "DELETE FROM found_upload WHERE id IN (SELECT id FROM found_upload"
    " WHERE found_s < :before_s ORDER BY found_s LIMIT :limit)"
)
_OLD_BAD = text("DELETE FROM bad_event WHERE received_s < :before_s")


def prune_others(connection: Connection, before_s: float, changes: Changes) -> int:
    """Delete old bad events, and a part of the old rows of `found_upload`; return that part."""
    changes["bad", ""] -= connection.execute(_OLD_BAD, {"before_s": before_s}).rowcount
    return connection.execute(_OLD_FOUND, {"before_s": before_s, "limit": CHUNK}).rowcount
