"""Decides from the log which names the people of a video have now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from rollcall.core.errors import PermanentError
from rollcall.core.index_types import IndexedVideo
from rollcall.corrections.log_marks import Mark, mark_up_to, marked_line
from rollcall.corrections.name_changes import (
    NAMES_AS_OF,
    is_joined_for_good,
    is_merge_undone,
    line_of_gallery,
    names_as_of,
    present_names,
)
from rollcall.database.database import Database
from rollcall.index.change_log import newest_line
from rollcall.index.documents import indexed_video


class NewNames(NamedTuple):
    """The changed names of the people of a report."""

    names: Mapping[int, str]
    """By the place of the person."""
    merged_by: Mapping[int, list[Mark]]
    as_of: Mark
    """The newest line of the log that the names follow."""


def new_names(
    database: Database,
    video: IndexedVideo,
    people: Sequence[Mapping[str, Any]],
    noted: object = None,
) -> NewNames:
    """The changed names of a video in the index. `people` are its people as in a report.

    `noted` is the line that the names follow already, if the result has noted it.
    """
    with database.reading() as connection:
        after_id = _line_followed(connection, video, noted)
        return _new_names(connection, people, after_id, database.now_s(connection))


def check_undone_merges(
    database: Database,
    video: IndexedVideo,
    people: Sequence[Mapping[str, Any]],
    noted: object = None,
) -> None:
    """Raise PermanentError if the undo of a merge may concern a video without a report.

    Only a report says which of its people the merge has renamed.
    """
    with database.reading() as connection:
        after_id = _line_followed(connection, video, noted)
        is_undone = is_merge_undone(connection, people, after_id)
    if video.corrected and is_undone:
        raise PermanentError(
            f"{video.key!r} may show either person of a merge that was undone, and has no report"
            " that says which; recognise the video again"
        )


def new_names_of_report(
    database: Database, video: IndexedVideo, report: Mapping[str, Any]
) -> NewNames:
    """The changed names of a report.

    The report is written before the index, so it may have the new names already. Raises
    PermanentError if the names of two people cannot be told apart.
    """
    people, version = report["people"], report.get("gallery")
    with database.reading() as connection:
        after_id = marked_line(connection, report.get(NAMES_AS_OF))
        if after_id is None:
            known = version if isinstance(version, str) else ""
            after_id = names_as_of(connection, known, video.finished_s)
        new = _new_names(connection, people, after_id, database.now_s(connection))
        is_joined = not new.names and is_joined_for_good(connection, people)
    if is_joined and video.people == indexed_video(report).people:
        raise PermanentError(
            f"{video.key!r} shows both people of a merge that was undone, and has no stored faces"
            " to tell them apart"
        )
    return new


def line_that_names_follow(database: Database, version: str) -> Mark:
    """The newest line that this version of the gallery follows."""
    with database.reading() as connection:
        line = line_of_gallery(connection, version)
        if line is None:
            line = newest_line(connection)
        return mark_up_to(connection, line, database.now_s(connection))


def _line_followed(connection: Connection, video: IndexedVideo, noted: object) -> int:
    line = marked_line(connection, noted)
    return names_as_of(connection, video.gallery, video.finished_s) if line is None else line


def _new_names(
    connection: Connection, people: Sequence[Mapping[str, Any]], after_id: int, now_s: float
) -> NewNames:
    until_id = newest_line(connection)
    names, merged_by = present_names(connection, people, after_id, until_id)
    # Most videos keep their names, and then nobody needs the line.
    as_of = mark_up_to(connection, until_id, now_s) if names else (0, 0.0)
    return NewNames(names, merged_by, as_of)
