"""Queries of the page of problems: failed videos, events, uploads and messages, and dismissals.

A row in `dismissed` dismisses a problem. If the problem happens again later, for example because a
dead letter was tried again and failed again, that row does not count any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, FromClause, Select, and_, exists, func, literal, select

from rollcall.core.figures import Figures
from rollcall.database.database import Database
from rollcall.database.index_tables import dismissed, skipped_upload, video
from rollcall.database.tables import bad_event, finished, notice

Kind = Literal["dead", "message", "bad", "skipped"]
KINDS: tuple[Kind, ...] = ("dead", "message", "bad", "skipped")

MAX_SKIPPED = 1000
"""Rows of `skipped_upload` that are counted. The reconciler writes no more."""

SHOWN_BYTES = 300
"""Bytes of a bad event that are shown."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Problems with one cause. `code` is that of dead letters, and empty for the other kinds."""

    kind: Kind
    code: str
    count: int


_ROWS: dict[Kind, FromClause] = {
    "dead": finished,
    "bad": bad_event,
    "skipped": skipped_upload,
    "message": notice,
}
_TIMES = {
    "dead": finished.c.changed_s,
    "bad": bad_event.c.received_s,
    "skipped": skipped_upload.c.uploaded_s,
    "message": notice.c.changed_s,
}


def is_dismissed(kind: Kind) -> ColumnElement[bool]:
    """Whether somebody has dismissed a row of the kind's table since the problem arose."""
    row = _ROWS[kind]
    return exists(
        select(dismissed.c.number).where(
            dismissed.c.kind == kind,
            dismissed.c.number == row.c.id,
            dismissed.c.at_s >= _TIMES[kind],
        )
    )


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a cause."""

    id: int
    name: str
    """The key of the video or upload; empty for other kinds."""
    reason: str
    at_s: float
    video_id: int | None = None
    """The row of the video in the index, if there is one."""


def numbers(database: Database, kind: Kind, code: str, limit: int) -> list[int]:
    """The ids of the problems of a cause, newest first."""
    id_ = _ROWS[kind].c.id
    query = select(id_).where(_is_open(kind, code)).order_by(_TIMES[kind].desc(), id_.desc())
    with database.reading() as connection:
        return list(connection.execute(query.limit(limit)).scalars())


def problems(database: Database, kind: Kind, code: str, limit: int) -> list[Problem]:
    """The problems of a cause, newest first."""
    query = _PROBLEMS[kind].where(_is_open(kind, code))
    newest = _TIMES[kind].desc(), _ROWS[kind].c.id.desc()
    with database.reading() as connection:
        return [Problem(*row) for row in connection.execute(query.order_by(*newest).limit(limit))]


def bad_event_bodies(database: Database, ids: Sequence[int]) -> dict[int, str]:
    """The beginnings of bad events, by id."""
    query = select(bad_event.c.id, bad_event.c.body).where(bad_event.c.id.in_(ids))
    with database.reading() as connection:
        rows = connection.execute(query)
        return {id_: bytes(body[:SHOWN_BYTES]).decode(errors="replace") for id_, body in rows}


def _is_open(kind: Kind, code: str) -> ColumnElement[bool]:
    """Whether a row of the kind's table is a problem with this code that nobody has dismissed."""
    is_open = ~is_dismissed(kind)
    if kind == "dead":
        return and_(finished.c.state == "dead", finished.c.code == code, is_open)
    if kind == "message":
        return and_(notice.c.state == "dead", is_open)
    return is_open


_PROBLEMS: dict[Kind, Select[Any]] = {
    "dead": select(
        finished.c.id, finished.c.key, finished.c.message, finished.c.changed_s, video.c.id
    ).outerjoin(video, and_(video.c.bucket == finished.c.bucket, video.c.key == finished.c.key)),
    "bad": select(bad_event.c.id, literal(""), bad_event.c.reason, bad_event.c.received_s),
    "skipped": select(
        skipped_upload.c.id,
        skipped_upload.c.key,
        skipped_upload.c.reason,
        skipped_upload.c.uploaded_s,
    ),
    "message": select(notice.c.id, literal(""), notice.c.message, notice.c.changed_s),
}


def causes(database: Database, figures: Figures) -> list[Cause]:
    """What is wrong and not dismissed, the cause with most dead letters first."""
    hidden = _dismissed(database)
    codes = figures.codes.items()
    dead = Counter({code: count for (state, code), count in codes if state == "dead"})
    found = [
        Cause("dead", code, count - hidden["dead", code]) for code, count in dead.most_common()
    ]
    others: dict[Kind, int] = {
        "message": figures.notices.get("dead", 0),
        "bad": figures.work.get("bad", 0),
        "skipped": _skipped(database),
    }
    found += [Cause(kind, "", count - hidden[kind, ""]) for kind, count in others.items()]
    return [cause for cause in found if cause.count > 0]


def _dismissed(database: Database) -> Counter[tuple[str, str]]:
    """The number of dismissed problems of each cause."""
    found: Counter[tuple[str, str]] = Counter()
    with database.reading() as connection:
        for kind, row in _ROWS.items():
            is_row = and_(dismissed.c.kind == kind, dismissed.c.number == row.c.id)
            current = dismissed.c.at_s >= _TIMES[kind]
            if kind == "dead":
                query = select(finished.c.code, func.count()).where(finished.c.state == "dead")
            else:
                query = select(func.min(""), func.count())
            if kind == "message":
                query = query.where(notice.c.state == "dead")
            query = query.select_from(dismissed).join(row, is_row).where(current)
            if kind == "dead":
                query = query.group_by(finished.c.code)
            for code, count in connection.execute(query):
                found[kind, code or ""] += count
    return found


def _skipped(database: Database) -> int:
    some = select(skipped_upload.c.id).limit(MAX_SKIPPED).subquery()
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(some)).scalar_one())
