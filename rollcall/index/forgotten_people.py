"""Removes a person from the database: from the index, the log, and all messages.

Every step can be repeated, so an interrupted removal is completed by the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Column, Connection, Table, delete, func, insert, select, update

from rollcall.core.contradictions import are_among
from rollcall.core.forgotten_documents import document_without, message_without
from rollcall.core.names import spellings
from rollcall.core.types import Encodings, recognition_status
from rollcall.database.database import Database
from rollcall.database.index_tables import (
    appearance,
    face_block,
    person,
    rematch,
    removed_example,
    unindexed,
    unknown_face,
    video,
)
from rollcall.database.tables import finished, notice, work
from rollcall.index.change_log import SqlChangeLog
from rollcall.index.row_versions import lock_versions

CHUNK = 500
"""Videos that one transaction reads."""

MESSAGES = (
    (finished, finished.c.message),
    (work, work.c.message),
    (video, video.c.error_message),
    (notice, notice.c.message),
    (rematch, rematch.c.message),
)
"""Messages of failed work, which may quote a name."""

DOCUMENTS = ((unindexed, unindexed.c.document), (notice, notice.c.body))
"""JSON texts about results."""


Find = Callable[[Connection, Table, Column[str]], Iterator[tuple[int, str]]]
"""The id and the new text of each row of a column that mentions the person."""


class Trace(NamedTuple):
    """Entries about a person in the database."""

    kind: str
    """`appearance`, `change`, `encoding`, `answer` or `message`."""
    entries: int


class PersonInDatabase:
    """Finds one person in the database, and removes the person."""

    def __init__(self, database: Database, name: str, faces: Sequence[Encodings] = ()) -> None:
        """`faces` are the person's encodings in the gallery, each of shape (k, size). A removed
        photo may show the person with the name of somebody else."""
        self._database = database
        self._name = name
        self._faces = faces

    def count(self) -> Iterator[Trace]:
        """The entries that `remove` would remove."""
        with self._database.reading() as connection:
            query = select(func.count()).select_from(appearance)
            shown = connection.execute(query.where(_is_person(self._name))).scalar_one()
            removed = len(_removed_examples(connection, self._name, self._faces))
            documents = sum(len(list(self._documents(connection, *each))) for each in DOCUMENTS)
            messages = sum(len(list(self._messages(connection, *each))) for each in MESSAGES)
        yield Trace("appearance", shown)
        yield Trace("change", SqlChangeLog(self._database).mentions(self._name))
        yield Trace("encoding", removed)
        yield Trace("answer", documents)
        yield Trace("message", messages)

    def remove(self) -> Iterator[Trace]:
        """Remove the person, and yield the removed entries."""
        # New results first, so that the indexer cannot bring the person back.
        yield Trace("answer", self._change_all(self._documents, DOCUMENTS))
        yield Trace("appearance", self._remove_appearances())
        yield Trace("encoding", self._database.run(self._remove_examples))
        yield Trace("change", SqlChangeLog(self._database).forget(self._name))
        yield Trace("message", self._change_all(self._messages, MESSAGES))

    def _remove_appearances(self) -> int:
        count, is_gone = 0, False
        while not is_gone:
            while removed := self._database.run(self._remove_from_videos):
                count += removed
            is_gone = self._database.run(self._remove_name)
        return count

    def _remove_name(self, connection: Connection) -> bool:
        """Delete the person's row. Return False if the person has appeared again since."""
        own = person.c.name.in_(spellings(self._name))
        # A writer of the index locks the row before it adds an appearance.
        connection.execute(select(person.c.id).where(own).with_for_update()).all()
        shown = select(appearance.c.id).where(_is_person(self._name)).limit(1)
        if connection.execute(shown).first():
            return False
        connection.execute(delete(person).where(own))
        return True

    def _remove_from_videos(self, connection: Connection) -> int:
        """Remove the person from some videos, and return the number of appearances."""
        query = select(appearance.c.video_id).where(_is_person(self._name)).limit(CHUNK)
        people = select(person.c.id).where(person.c.name.in_(spellings(self._name)))
        gone = set(connection.execute(people).scalars())
        removed = 0
        for video_id in sorted(set(connection.execute(query).scalars())):
            removed += _remove_from_video(self._database, connection, video_id, gone)
        return removed

    def _remove_examples(self, connection: Connection) -> int:
        ids = _removed_examples(connection, self._name, self._faces)
        connection.execute(delete(removed_example).where(removed_example.c.change_id.in_(ids)))
        return len(ids)

    def _documents(
        self, connection: Connection, table: Table, column: Column[str]
    ) -> Iterator[tuple[int, str]]:
        return self._changed(connection, table, column, document_without)

    def _messages(
        self, connection: Connection, table: Table, column: Column[str]
    ) -> Iterator[tuple[int, str]]:
        return self._changed(connection, table, column, message_without)

    def _changed(
        self,
        connection: Connection,
        table: Table,
        column: Column[str],
        without: Callable[[str, str], tuple[str, int]],
    ) -> Iterator[tuple[int, str]]:
        """The id and the new text of each row that mentions the person."""
        rows = connection.execute(select(table.c.id, column).where(column != "")).all()
        for id_, text in rows:
            rest, count = without(text, self._name)
            if count:
                yield id_, rest

    def _change_all(self, find: Find, columns: Sequence[tuple[Table, Column[str]]]) -> int:
        return sum(self._database.run(partial(self._change, find, *each)) for each in columns)

    def _change(
        self,
        find: Find,
        table: Table,
        column: Column[str],
        connection: Connection,
    ) -> int:
        count = 0
        for id_, text in find(connection, table, column):
            changed = update(table).where(table.c.id == id_)
            connection.execute(changed.values({column.name: text}))
            count += 1
        return count


def _is_person(name: str) -> Any:
    people = select(person.c.id).where(person.c.name.in_(spellings(name)))
    return appearance.c.person_id.in_(people)


def _removed_examples(connection: Connection, name: str, faces: Sequence[Encodings]) -> list[int]:
    table = removed_example.c
    rows = connection.execute(select(table.change_id, table.facts, table.encoding))
    return [
        row.change_id
        for row in rows
        if document_without(f"[{row.facts}]", name)[1] or _shows(row.encoding, faces)
    ]


def _shows(encoding: bytes, faces: Sequence[Encodings]) -> bool:
    """Whether a removed photo is one of these faces."""
    row = np.frombuffer(encoding, "<f8")[None]
    return any(are_among(row, each).any() for each in faces if each.shape[1] == row.shape[1])


def _remove_from_video(
    database: Database, connection: Connection, video_id: int, gone: set[int]
) -> int:
    """Remove people from a video. The others get the numbers that they have in the report then."""
    lock = select(video.c.id).where(video.c.id == video_id).with_for_update()
    connection.execute(lock).all()
    table = appearance.c
    query = select(appearance).where(table.video_id == video_id).order_by(table.number)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    left = [row for row in rows if row["person_id"] not in gone]
    numbers = _new_numbers(rows, gone)
    # New rows get new ids, so that a rebuild that read the old report notices the change.
    connection.execute(delete(appearance).where(table.video_id == video_id))
    if left:
        new = [{**row, "number": numbers[row["number"]]} for row in left]
        connection.execute(insert(appearance), [_without_id(row) for row in new])
    _renumber_unknown(connection, video_id, numbers)
    _remove_encodings(database, connection, video_id, numbers)
    named = sum(row["person_id"] is not None for row in left)
    names = ["x"] * named + [""] * (len(left) - named)
    values = {
        "named": named,
        "unknown": len(left) - named,
        "status": recognition_status(names),
    }
    connection.execute(update(video).where(video.c.id == video_id).values(values))
    return len(rows) - len(left)


def _without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id"}


def _new_numbers(rows: Sequence[dict[str, Any]], gone: set[int]) -> dict[int, int]:
    """The new number for each number that stays, once the removed ones are gone."""
    removed = [row["number"] for row in rows if row["person_id"] in gone]
    return {
        row["number"]: row["number"] - sum(other < row["number"] for other in removed)
        for row in rows
        if row["person_id"] not in gone
    }


def _renumber_unknown(connection: Connection, video_id: int, numbers: dict[int, int]) -> None:
    table = unknown_face.c
    # Those who are gone may be among the remembered faces (`group_memory`).
    remembered = (table.video_id == video_id) & (table.number < 0)
    connection.execute(delete(unknown_face).where(remembered))
    for old, new in sorted(numbers.items()):
        if old != new:
            member = (table.video_id == video_id) & (table.number == old)
            connection.execute(update(unknown_face).where(member).values(number=new))


def _remove_encodings(
    database: Database, connection: Connection, video_id: int, numbers: dict[int, int]
) -> None:
    """Remove the encodings of those who are gone from the face search."""
    query = select(face_block).where(face_block.c.video_id == video_id)
    block = connection.execute(query).first()
    if block is None:
        return
    old = np.frombuffer(block.numbers, "<u2")
    encodings = np.frombuffer(block.encodings, "<f2").reshape(len(old), -1)
    kept = [place for place, number in enumerate(old.tolist()) if number in numbers]
    new = np.array([numbers[int(old[place])] for place in kept], "<u2")
    # The row stays even if it is empty, because copies in memory follow the version.
    values = {
        "numbers": new.tobytes(),
        "encodings": encodings[kept].tobytes(),
        "rows": len(kept),
        "version": lock_versions(database, connection, face_block),
    }
    own = face_block.c.video_id == video_id
    connection.execute(update(face_block).where(own).values(values))
