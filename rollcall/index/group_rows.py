"""Reads and writes the groups of unknown faces, within the transactions of `SqlUnknownGroups`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from rollcall.database.index_tables import appearance, unknown_face, unknown_group
from rollcall.index.centres import Rows, as_rows
from rollcall.index.grouping import Group

IDS_AT_ONCE = 500


class Member(NamedTuple):
    """An unknown appearance, with the mean of its encodings."""

    video_id: int
    number: int
    uploaded_s: float
    encoding: Rows
    """Shape (size,), as rounded by the column's half precision, so that a face that leaves a group
    takes exactly what it added."""
    group_id: int = 0


def load_groups(
    connection: Connection, ids: Sequence[int], size: int, space: str = ""
) -> list[Group]:
    """The groups with these ids that still exist; with `space`, only those of that space."""
    groups: list[Group] = []
    for start in range(0, len(ids), IDS_AT_ONCE):
        chosen = unknown_group.c.id.in_(ids[start : start + IDS_AT_ONCE])
        for row in connection.execute(select(unknown_group).where(chosen)):
            if space in ("", row.space):
                rows = np.array(as_rows(row.centre, size))
                times = row.first_seen_s, row.last_seen_s
                same = frozenset(row.same.split())
                groups.append(Group(row.id, rows, row.appearances, *times, same))
    return groups


def shrink_groups(connection: Connection, members: Sequence[Member], version: int) -> None:
    """Take members, which are deleted already, out of their groups in any encoding space."""
    by_group: dict[int, list[Member]] = {}
    for member in members:
        by_group.setdefault(member.group_id, []).append(member)
    for group_id, lost in by_group.items():
        for group in load_groups(connection, [group_id], len(lost[0].encoding)):
            for member in lost:
                group.remove(member.encoding[None])
            write_groups(connection, "", [group], version)
            write_times(connection, [group])


def take_members(connection: Connection, column: str, ids: Sequence[int]) -> list[Member]:
    """Delete the members with these ids in `column` from their groups, and return them."""
    removed = (
        delete(unknown_face)
        .where(unknown_face.c[column].in_(ids))
        .returning(*(unknown_face.c[name] for name in Member._fields))
    )
    rows = connection.execute(removed).all()
    members = [
        Member(row.video_id, row.number, row.uploaded_s, _single(row.encoding), row.group_id)
        for row in rows
    ]
    return sorted(members, key=lambda member: member[:2])


def write_groups(connection: Connection, space: str, groups: Sequence[Group], version: int) -> None:
    """Write all that changed. New groups get their ids."""
    # Groups that end here never get an id.
    new = [g for g in groups if not g.id and g.into is None and (g.count or g.same)]
    if new:
        inserted = insert(unknown_group).returning(unknown_group.c.id, sort_by_parameter_order=True)
        rows = [_row(group, version) | {"space": space} for group in new]
        for group, group_id in zip(new, connection.execute(inserted, rows).scalars(), strict=True):
            group.id = group_id
    for group in groups:
        if group.into is not None and group.id and group.id != group.current().id:
            for table in (unknown_face, appearance):
                moved = update(table).where(table.c.group_id == group.id)
                connection.execute(moved.values(group_id=group.current().id))
            remembered = update(unknown_face).where(unknown_face.c.group_id == -group.id)
            connection.execute(remembered.values(group_id=-group.current().id))
    made = set(new)
    stored = [group for group in groups if group.id and group not in made]
    gone = [g.id for g in stored if g.into is not None or not (g.count or g.same)]
    kept = [g for g in stored if g.into is None and g.changed and (g.count or g.same)]
    if gone:
        connection.execute(delete(unknown_group).where(unknown_group.c.id.in_(gone)))
    if kept:
        changed = update(unknown_group).where(unknown_group.c.id == bindparam("key"))
        connection.execute(changed, [_row(group, version) | {"key": group.id} for group in kept])


def write_members(
    connection: Connection, members: Sequence[Member], groups: Sequence[Group]
) -> None:
    """Write the members that were put into these groups."""
    rows = [
        {
            "video_id": member.video_id,
            "number": member.number,
            "group_id": group.current().id,
            "uploaded_s": member.uploaded_s,
            "encoding": member.encoding.astype("<f2").tobytes(),
        }
        for member, group in zip(members, groups, strict=True)
    ]
    if not rows:
        return
    connection.execute(insert(unknown_face), rows)
    shown = update(appearance).where(
        appearance.c.video_id == bindparam("video"), appearance.c.number == bindparam("place")
    )
    values = [
        {"video": row["video_id"], "place": row["number"], "group_id": row["group_id"]}
        for row in rows
    ]
    connection.execute(shown, values)


def write_times(connection: Connection, groups: Sequence[Group]) -> None:
    """Read the times of groups that faces have left from the remaining faces."""
    for group in groups:
        if group.shrunk and group.id and group.into is None and group.count:
            column = unknown_face.c.uploaded_s
            times = select(func.min(column), func.max(column))
            found = connection.execute(times.where(unknown_face.c.group_id == group.id)).one()
            changed = update(unknown_group).where(unknown_group.c.id == group.id)
            connection.execute(changed.values(first_seen_s=found[0], last_seen_s=found[1]))


def _single(encoding: bytes) -> Rows:
    return np.frombuffer(encoding, "<f2").astype(np.float32)


def _row(group: Group, version: int) -> dict[str, object]:
    return {
        "centre": group.rows.astype("<f4").tobytes(),
        "appearances": group.count,
        "first_seen_s": group.first_s,
        "last_seen_s": group.last_s,
        "same": " ".join(sorted(group.same)),
        "version": version,
    }
