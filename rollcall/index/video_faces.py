"""Puts the stored faces of videos into the face search and the groups of unknown faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rollcall.core.index_types import Appearance
from rollcall.database.database import Database
from rollcall.index.face_search import FaceBlock, SqlFaceSearch
from rollcall.index.report_reader import VideoWithFaces
from rollcall.index.unknown_groups import SqlUnknownGroups, UnknownFaces


class VideoFaces:
    """Writes both. Call `put` after the videos were put into the index.

    The face search is written last, so `has` tells whether an earlier `put` has come to its end.
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
            block = _block(id_, each, lambda person: not person.name)
            unknown = UnknownFaces(*block, each.video.uploaded_s)
            space = each.faces.space.name, each.faces.space.size
            by_space.setdefault(space, []).append(unknown)
            if space not in self._groups:
                self._groups[space] = SqlUnknownGroups(self._database, each.faces.space)
        for space, unknown_faces in by_space.items():
            self._groups[space].put_all(unknown_faces)
        self._search.put_all([_block(id_, each, lambda person: True) for id_, each in ordered])

    def has(self, video_id: int) -> bool:
        """Whether the face search has faces of this video."""
        return self._search.has(video_id)


def _block(id_: int, each: VideoWithFaces, wanted: Callable[[Appearance], bool]) -> FaceBlock:
    numbers: list[int] = []
    rows = [np.zeros((0, each.faces.space.size))]
    for person in each.video.people:
        if wanted(person):
            encodings, _ = each.faces.appearance_encodings(person.number)
            numbers += [person.number] * len(encodings)
            rows.append(encodings)
    return FaceBlock(id_, each.faces.space.name, numbers, np.concatenate(rows))
