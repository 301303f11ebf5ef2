"""Completes the lines of the log about changes of the gallery, and queues the videos that may
change. All functions work in the transaction of the connection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from sqlalchemy import ColumnElement, Connection, select

from rollcall.core.gallery import Gallery
from rollcall.corrections.gallery_edits import Edit
from rollcall.corrections.lost_lines import write_lost_lines
from rollcall.corrections.started_changes import (
    IN_PROGRESS_S,
    KEEP_S,
    MAX_AGE_S,
    Line,
    drop,
    finish,
    is_line,
    started_changes,
)
from rollcall.database.index_tables import appearance, person, video
from rollcall.index.change_log import mark_undone, write_line
from rollcall.index.rematch_rows import (
    add_videos,
    add_where,
    newest_version,
    put_first,
    set_version,
)

log = logging.getLogger(__name__)

Then = Callable[[Connection, int], None]
"""Adds to the transaction that writes the line with this id."""

_HAS_FACES = video.c.kept != "none"

_SHOWS_IGNORED = (
    video.c.coverage.contains('"ignored": '),
    ~video.c.coverage.contains('"ignored": 0'),
)
"""Videos in which somebody is ignored. No database index covers this condition, but the query is
rare."""


def record_change(
    connection: Connection,
    now_s: float,
    change_id: int,
    line: Line,
    edit: Edit,
    near: set[int] | None,
    then: Then | None = None,
) -> int:
    """Complete the started line, and queue the videos. Return the id of the line.

    `near` are the videos that the edit's encodings are near to; None for all videos.
    """
    if not finish(connection, change_id, line, edit.undo):
        if is_line(connection, change_id):
            return change_id  # another process has found the change in the gallery
        texts = (line.who, line.action, line.name, line.details)
        change_id = write_line(connection, now_s, *texts, edit.undo)
        if then:
            then(connection, change_id)
    if line.undoes is not None and not mark_undone(connection, line.undoes, change_id):
        log.warning("the change %d was undone twice", line.undoes)
    if near is None:
        add_where(connection, now_s, change_id, _HAS_FACES)
    else:
        add_videos(connection, now_s, change_id, near)
    if edit.ignored:
        add_where(connection, now_s, change_id, _HAS_FACES, *_SHOWS_IGNORED)
    if edit.names:
        add_where(connection, now_s, change_id, _shows(edit.names), _can_change(line))
    put_first(connection, now_s, edit.videos)
    return change_id


def record_started(
    connection: Connection, now_s: float, gallery: Gallery, writer: str, *, everything: bool = False
) -> None:
    """Complete the started lines that the gallery shows, and delete those that failed.

    Lines of other processes than `writer` may be in progress. With `everything`, that does not
    matter, because all videos are compared anyway.
    """
    for started in started_changes(connection, 0.0 if everything else now_s - MAX_AGE_S):
        age_s = now_s - started.at_s
        if not (everything or started.writer == writer or age_s > IN_PROGRESS_S):
            continue
        if started.is_in(gallery):
            edit = started.edit(gallery)
            record_change(connection, now_s, started.id, started.line, edit, None)
        elif age_s > KEEP_S:
            drop(connection, started.id)


def record_gallery(connection: Connection, now_s: float, gallery: Gallery, writer: str) -> None:
    """Complete all lines about a gallery that all videos are compared with, and make it the newest
    version."""
    record_started(connection, now_s, gallery, writer, everything=True)
    if newest_version(connection):
        write_lost_lines(connection, now_s, gallery)
    set_version(connection, now_s, gallery.version)


def _shows(names: Sequence[str]) -> ColumnElement[bool]:
    people = select(person.c.id).where(person.c.name.in_(names))
    shown = select(appearance.c.video_id).where(appearance.c.person_id.in_(people))
    return video.c.id.in_(shown)


def _can_change(line: Line) -> ColumnElement[bool]:
    """Without stored faces, only names can change: by rename and merge, and their undo."""
    is_renamed = {line.action, line.details.get("action")} & {"rename", "merge"}
    return video.c.status != "error" if is_renamed else _HAS_FACES
