"""Puts the stored faces of videos into the face search and the groups of unknown faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from sqlalchemy import Connection, select

from rollcall.core.index_types import Appearance, IndexedVideo
from rollcall.core.texts import storable
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, video
from rollcall.index.centres import Rows
from rollcall.index.face_search import FaceBlock, SqlFaceSearch
from rollcall.index.report_reader import VideoWithFaces
from rollcall.index.unknown_groups import SqlUnknownGroups, UnknownFaces

People = list[tuple[int, str, int]]
"""Number, name and frames of each person of a video."""


class VideoFaces:
    """Writes to the face search and to the groups.

    Call `put` after the videos were put into the index. Stored faces name people by their numbers,
    so they must not be written beside another result: a video that was removed, or got another
    result since, stays unchanged.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._search = SqlFaceSearch(database)
        self._groups: dict[tuple[str, int], SqlUnknownGroups] = {}
        """By name and size of the encoding space."""

    def put(self, videos: Mapping[int, VideoWithFaces]) -> None:
        """Store the faces of videos, by id in the index, in place of earlier ones."""
        ordered = sorted(videos.items())
        by_space: dict[tuple[str, int], list[UnknownFaces]] = {}
        for id_, each in ordered:
            block = _block(id_, each, lambda found: not found.name)
            unknown = UnknownFaces(*block, each.video.uploaded_s, partial(_others, each))
            space = each.faces.space.name, each.faces.space.size
            by_space.setdefault(space, []).append(unknown)
            if space not in self._groups:
                self._groups[space] = SqlUnknownGroups(self._database, each.faces.space)
        for space, unknown_faces in by_space.items():
            indexed = {each.video_id: videos[each.video_id].video for each in unknown_faces}
            self._groups[space].put_all(unknown_faces, partial(self._unchanged, indexed))
        blocks = [_block(id_, each, lambda found: True) for id_, each in ordered]
        indexed = {id_: each.video for id_, each in ordered}
        self._search.put_all(blocks, partial(self._unchanged, indexed))

    def has(self, video_id: int) -> bool:
        """Whether the face search has faces of this video.

        `put` writes to the face search last, so it was not interrupted if this is true.
        """
        return self._search.has(video_id)

    def _unchanged(self, videos: Mapping[int, IndexedVideo], connection: Connection) -> set[int]:
        """Those of the videos that the index has with the same people. Others cannot change them
        until the transaction ends."""
        rows = select(video.c.id, video.c.etag).where(video.c.id.in_(list(videos)))
        if self._database.shared:
            # In the order of `SqlIndex`, so that the two cannot deadlock.
            rows = rows.order_by(video.c.bucket, video.c.key).with_for_update(read=True)
        etags = {row.id: row.etag for row in connection.execute(rows)}
        people: dict[int, People] = {id_: [] for id_ in etags}
        query = (
            select(appearance.c.video_id, appearance.c.number, person.c.name, appearance.c.frames)
            .outerjoin(person, person.c.id == appearance.c.person_id)
            .where(appearance.c.video_id.in_(list(etags)))
            .order_by(appearance.c.video_id, appearance.c.number)
        )
        for video_id, number, name, frames in connection.execute(query):
            people[video_id].append((number, name or "", frames))
        return {
            id_
            for id_, etag in etags.items()
            if (etag, people[id_]) == (storable(videos[id_].etag), _people(videos[id_]))
        }


def _people(indexed: IndexedVideo) -> People:
    return sorted((each.number, storable(each.name), each.frames) for each in indexed.people)


def _block(id_: int, each: VideoWithFaces, wanted: Callable[[Appearance], bool]) -> FaceBlock:
    numbers: list[int] = []
    rows = [np.zeros((0, each.faces.space.size))]
    for found in each.video.people:
        if wanted(found):
            encodings, _ = each.faces.appearance_encodings(found.number)
            numbers += [found.number] * len(encodings)
            rows.append(encodings)
    return FaceBlock(id_, each.faces.space.name, numbers, np.concatenate(rows))


def _others(each: VideoWithFaces) -> Rows:
    """The encodings of all stored faces that show no unknown person."""
    faces = each.faces
    unknown = [found.number for found in each.video.people if not found.name]
    other = ~np.isin(faces.persons, unknown) & (faces.rows >= 0)
    return faces.encodings[np.unique(faces.rows[other])]
