"""The queue of videos whose stored faces have to be compared with the gallery again.

Tables `rematch` and `gallery_version`. A video is in the queue at most once. All functions work in
the transaction of the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    case,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from rollcall.database.index_tables import change, gallery_version, rematch, video
from rollcall.index.change_log import STARTED, newest_line

IDS_AT_ONCE = 500
"""Videos in one statement. SQLite allows 32,766 parameters."""

KEEP_VERSIONS_S = 7 * 86400.0
"""How long replaced versions are remembered. A function uses its copy of the gallery for
ENCODINGS_REFRESH_S, and results reach the index soon after."""

WAIT_FOR_CHANGE_S = 10.0
"""How long a new result waits for a change of the gallery that is being made."""

CHANGING_S = 60.0
"""A change of the gallery that was started earlier, and is not finished, was cut short."""

HOLD_S = 3600.0
"""How long after a removal a late result keeps its names. The removal is repeated before."""

AHEAD_S = 365 * 86400.0
"""Urgent videos are due this long before they are queued, so that they are claimed before all
others."""

CLOCKS_S = 60.0
"""How much the clocks of the database and a function may differ."""


class Rematch(NamedTuple):
    """A claimed video."""

    id: int
    bucket: str
    key: str
    change_id: int | None
    """The newest change because of which the video is compared."""
    attempts: int
    """Failed attempts so far."""
    due_s: float
    """When another process may claim the video. It identifies this claim."""


def add_videos(
    connection: Connection, now_s: float, change_id: int | None, ids: Iterable[int]
) -> None:
    """Queue the videos with these ids whose faces are stored. Those that wait already are moved to
    the front."""
    for chunk in _chunks(ids):
        add_where(connection, now_s, change_id, video.c.id.in_(chunk), video.c.kept != "none")


def add_where(
    connection: Connection, now_s: float, change_id: int | None, *conditions: ColumnElement[bool]
) -> None:
    """Queue the videos that meet the conditions."""
    found = select(
        video.c.bucket,
        video.c.key,
        literal(change_id, rematch.c.change_id.type),
        literal(now_s, rematch.c.due_s.type),
        literal(now_s, rematch.c.created_s.type),
    ).where(*conditions)
    _add(connection, found, now_s)


def _add(connection: Connection, found: Select[Any], now_s: float) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    columns = ["bucket", "key", "change_id", "due_s", "created_s"]
    added = insert(rematch).from_select(columns, found)
    # Urgent videos keep their place.
    is_urgent = rematch.c.due_s < now_s - AHEAD_S / 2
    due_s = case((is_urgent, rematch.c.due_s), else_=added.excluded.due_s)
    new = {"due_s": due_s, "attempts": 0, "message": ""}
    # Without a new change, the video still counts for the change that queued it before.
    new["change_id"] = func.coalesce(added.excluded.change_id, rematch.c.change_id)
    objects = [rematch.c.bucket, rematch.c.key]
    connection.execute(added.on_conflict_do_update(index_elements=objects, set_=new))


def put_first(connection: Connection, now_s: float, videos: Iterable[tuple[str, str]]) -> None:
    """Let these videos (bucket, key), which were queued at this time, be claimed before others."""
    table = rematch.c
    for bucket, key in dict.fromkeys(videos):
        queued = (table.bucket == bucket, table.key == key, table.due_s == now_s)
        connection.execute(update(rematch).where(*queued).values(due_s=now_s - AHEAD_S))


def add_outdated(connection: Connection, now_s: float, bucket: str, keys: Iterable[str]) -> None:
    """Queue those of the videos that were recognised with a gallery that was corrected since.

    The indexer calls this function after it has put new results into the index. Functions use a
    gallery for some time before they load it again, so they may not know the newest verdicts and
    names. Without stored faces, only names can be corrected.
    """
    table = gallery_version.c
    outdated = select(table.version)
    if _is_gallery_changing(connection, now_s):
        # The change may have looked for its videos already, before these were in the index.
        now_s += WAIT_FOR_CHANGE_S
    else:
        newest = select(func.max(table.id)).scalar_subquery()
        outdated = outdated.where(table.id < newest)
    if connection.execute(outdated.limit(1)).first() is None:
        return
    for chunk in _chunks(keys):
        objects = (video.c.bucket == bucket, video.c.key.in_(chunk))
        can_change = (video.c.kept != "none") | (video.c.named > 0)
        add_where(connection, now_s, None, *objects, can_change, video.c.gallery.in_(outdated))


def _is_gallery_changing(connection: Connection, now_s: float) -> bool:
    table = change.c
    started = select(table.id).where(table.action == STARTED, table.at_s >= now_s - CHANGING_S)
    return connection.execute(started.limit(1)).first() is not None


def any_due(connection: Connection, now_s: float) -> bool:
    """Whether `claim` would find a video."""
    due = select(rematch.c.id).where(rematch.c.due_s <= now_s).limit(1)
    return connection.execute(due).first() is not None


def claim(connection: Connection, now_s: float, limit: int, lease_s: float) -> list[Rematch]:
    """Take due videos. No other process gets them before `lease_s` seconds have passed.

    Urgent videos (`put_first`) come first and alone, because the results of all claimed videos get
    into the index together.
    """
    table = rematch.c
    due = (
        select(table.id, table.due_s)
        .where(table.due_s <= now_s)
        .order_by(table.due_s, table.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(due).all()
    ids = [row.id for row in found if row.due_s < found[0].due_s + AHEAD_S / 2]
    fields = (table.id, table.bucket, table.key, table.change_id, table.attempts, table.due_s)
    taken = update(rematch).where(table.id.in_(ids)).values(due_s=now_s + lease_s)
    rows = connection.execute(taken.returning(*fields)) if ids else ()
    return sorted((Rematch(*row) for row in rows), key=lambda row: row.id)


def finish(connection: Connection, row: Rematch) -> bool:
    """Remove a claimed video from the queue. Return False if it was queued again since."""
    table = rematch.c
    done = delete(rematch).where(table.id == row.id, table.due_s == row.due_s)
    return bool(connection.execute(done).rowcount)


def postpone(
    connection: Connection, row: Rematch, due_s: float, attempts: int, message: str
) -> None:
    """Try a claimed video again later, because of the error with this message.

    `attempts` are the failed ones, this one included.
    """
    table = rematch.c
    later = update(rematch).where(table.id == row.id, table.due_s == row.due_s)
    values = {"due_s": due_s, "attempts": attempts, "message": message}
    connection.execute(later.values(values))


def pending(connection: Connection) -> int:
    """The number of videos in the queue."""
    return connection.execute(select(func.count()).select_from(rematch)).scalar_one()


def newest_version(connection: Connection) -> str:
    """The version of the gallery that results are corrected with; empty if none is known yet."""
    newest = select(gallery_version.c.version).order_by(gallery_version.c.id.desc()).limit(1)
    return connection.execute(newest).scalar() or ""


def set_version(
    connection: Connection, now_s: float, version: str, change_id: int | None = None
) -> None:
    """Make this version the newest one, and forget those that were replaced long ago.

    `change_id` is the newest line of the log that this version follows, or None for the newest.
    """
    table = gallery_version.c
    newest = select(func.max(table.id)).scalar_subquery()
    connection.execute(update(gallery_version).where(table.id == newest).values(at_s=now_s))
    old = (table.version == version) | (table.at_s < now_s - KEEP_VERSIONS_S)
    connection.execute(delete(gallery_version).where(old))
    line = newest_line(connection) if change_id is None else change_id
    new = {"version": version, "change_id": line, "at_s": now_s}
    connection.execute(gallery_version.insert().values(new))


def set_version_of_removal(connection: Connection, now_s: float, version: str) -> None:
    """Make this version the newest one without comparing anything with it.

    Otherwise a person who is being removed would become an unknown person in the stored faces,
    before the removal finds them.
    """
    set_version(connection, now_s, version)
    own = gallery_version.c.version == version
    connection.execute(update(gallery_version).where(own).values(removal=1))


def without_late_results(
    connection: Connection, now_s: float, rows: Sequence[Rematch]
) -> list[Rematch]:
    """The claimed videos without those that may name a person who was removed; these are tried
    again after HOLD_S.

    A function may write such a result after the removal, with the gallery that it had loaded
    before. The removal is then repeated, and finds the person only by the name.
    """
    table = gallery_version.c
    removal = select(func.max(table.id)).where(table.removal == 1).scalar_subquery()
    before = select(table.version, table.at_s).where(table.id < removal)
    replaced_s = {row.version: row.at_s for row in connection.execute(before)}
    removed_s = max(replaced_s.values(), default=0.0)
    if now_s >= removed_s + HOLD_S:
        return list(rows)
    late = set()
    for row in rows:
        found = select(video.c.id).where(
            video.c.bucket == row.bucket,
            video.c.key == row.key,
            video.c.gallery.in_(list(replaced_s)),
            video.c.finished_s >= removed_s - CLOCKS_S,
        )
        if connection.execute(found).first():
            held = update(rematch).where(rematch.c.id == row.id, rematch.c.due_s == row.due_s)
            connection.execute(held.values(due_s=removed_s + HOLD_S))
            late.add(row.id)
    return [row for row in rows if row.id not in late]


def _chunks(items: Iterable[Any]) -> Iterable[Sequence[Any]]:
    remaining = list(items)
    for start in range(0, len(remaining), IDS_AT_ONCE):
        yield remaining[start : start + IDS_AT_ONCE]
