"""Remembers the group of a face that somebody named or ignored, in case this is undone.

Otherwise the faces of a group would be grouped anew when they come back, video by video and in
another order, and could become other groups (docs/decisions/0193). A remembered face is a row of
`unknown_face` with a negative number and the negative id of its group, so no group counts it. It
goes with the video, or if the video does not show it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sqlalchemy import Connection, insert, update

from rollcall.database.index_tables import unknown_face as faces
from rollcall.index.centres import Rows
from rollcall.index.group_rows import Member
from rollcall.index.grouping import Group

Pair = tuple[Member, Member | None]
"""A face to add, and the same face before, if there was one."""


def matched(taken: Sequence[Member], added: Sequence[Member]) -> tuple[list[Pair], list[Member]]:
    """The added faces in pairs, and all other earlier faces."""
    before: dict[tuple[int, bytes], list[Member]] = {}
    for member in taken:
        before.setdefault(_face(member), []).append(member)
    pairs = [(each, found.pop() if (found := before.get(_face(each))) else None) for each in added]
    return pairs, [member for each in before.values() for member in each]


def remember(
    connection: Connection,
    left: Sequence[Member],
    others: Mapping[int, tuple[float, Callable[[], Rows] | None]],
    limit: float,
) -> None:
    """Remember those of these faces that their video still shows.

    `others` has for each video the time of its upload, and all stored encodings of people who are
    not unknown. A face is still there if one of them is within the limit: a person who was named
    may have been several unknown people before.
    """
    by_video: dict[int, list[Member]] = {}
    for member in left:
        by_video.setdefault(member.video_id, []).append(member)
    for video_id, members in by_video.items():
        uploaded_s, read_encodings = others.get(video_id, (0.0, None))
        if read_encodings is None:
            continue
        encodings = read_encodings()
        shown = [
            member
            for member in members
            if member.uploaded_s == uploaded_s  # otherwise, it is another upload
            and encodings.shape[1] == len(member.encoding)
            and (np.linalg.norm(encodings - member.encoding, axis=1) <= limit).any()
        ]
        rows = [_row(member, -1 - place) for place, member in enumerate(shown)]
        if rows:
            connection.execute(insert(faces), rows)


def rename_groups(connection: Connection, groups: Mapping[int, Group]) -> None:
    """Remember the new groups, which are stored, in place of those with these ids."""
    for group_id, group in groups.items():
        known = update(faces).where(faces.c.group_id == -group_id)
        connection.execute(known.values(group_id=-group.current().id))


def _row(member: Member, number: int) -> dict[str, object]:
    return {
        "video_id": member.video_id,
        "number": number,
        "group_id": -abs(member.group_id),
        "uploaded_s": member.uploaded_s,
        "encoding": member.encoding.astype("<f2").tobytes(),
    }


def _face(member: Member) -> tuple[int, bytes]:
    return member.video_id, member.encoding.tobytes()
