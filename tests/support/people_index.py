"""A small index with people, for the tests of the pages about people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery
from rollcall.core.index_types import AnyFaceRef, Appearance, IndexedVideo
from rollcall.core.types import Encodings
from rollcall.core.web_protocols import ChangeLog
from rollcall.database.database import Database
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.index.sql_index import SqlIndex
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.web.parts import WebParts

DAY_S = 86_400.0
NOW_S = 1_764_230_000.0
"""2025-11-27 07:53 UTC."""


def encoding(seed: int, nearness: float = 0.0, towards: int = 0) -> Encodings:
    """A random encoding. With a `nearness` above 0, it is moved towards that of another seed."""
    own = np.random.default_rng(seed).normal(0, 0.09, 128)
    if nearness:
        own = own * (1 - nearness) + encoding(towards) * nearness
    return own


def put_video(
    database: Database,
    key: str,
    people: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    uploaded_s: float = NOW_S,
    kept: Any = "pictures",
) -> int:
    """Index a video with these people, and return its id. An empty name is an unknown person."""
    index = SqlIndex(database)
    appearances = tuple(
        Appearance(
            number,
            name,
            spans[0][0],
            spans[-1][1],
            10,
            0.4 + 0.05 * number,
            ("clear", "likely", "doubtful")[number % 3] if name else "",
            tuple(spans),
        )
        for number, (name, spans) in enumerate(people)
    )
    status = "recognised" if any(name for name, _ in people) else "unknown"
    index.put(
        [
            IndexedVideo(
                "input-bucket-video",
                key,
                "etag",
                status,
                uploaded_s=uploaded_s,
                finished_s=uploaded_s + 2,
                duration_s=3000.0,
                people=appearances,
                kept=kept,
            )
        ]
    )
    found = index.id_of("input-bucket-video", key)
    assert found is not None
    return found


def put_unknown(
    database: Database, video_id: int, faces: Mapping[int, Encodings], uploaded_s: float = NOW_S
) -> None:
    """Group the unknown appearances of a video, given by their numbers."""
    rows = np.array(list(faces.values())).reshape(len(faces), 128)
    groups = SqlUnknownGroups(database)
    groups.put(video_id, DLIB.name, list(faces), rows, uploaded_s)


def save_gallery(parts: WebParts, people: Mapping[str, Sequence[Encodings]]) -> None:
    names = [name for name, encodings in people.items() for _ in encodings]
    rows = np.array([row for encodings in people.values() for row in encodings])
    parts.gallery.save(render_gallery(Gallery(names, rows)))
    parts.known.changed()


@dataclass
class RecordedCorrections:
    """Corrections that only write the log."""

    changes: ChangeLog
    waiting: int = 0

    def is_person(
        self, faces: Sequence[AnyFaceRef], name: str, who: str, others: Sequence[AnyFaceRef] = ()
    ) -> int:
        change_id = self._record(who, "is", name, faces)
        if others:
            self._record(who, "not", name, others)
        return change_id

    def is_not(self, faces: Sequence[AnyFaceRef], name: str, who: str) -> int:
        return self._record(who, "not", name, faces)

    def same(self, faces: Sequence[AnyFaceRef], who: str) -> int:
        return self._record(who, "same", "", faces)

    def ignore(self, faces: Sequence[AnyFaceRef], who: str) -> int:
        return self._record(who, "ignore", "", faces)

    def rename(self, name: str, new_name: str, who: str) -> int:
        details = {"new_name": new_name}
        return self.changes.record(who, "rename", name, details, {"name": new_name})

    def merge(self, name: str, into: str, who: str) -> int:
        return self.changes.record(who, "merge", name, {"into": into}, {"name": into})

    def remove_example(self, name: str, example_id: str, who: str) -> int:
        details = {"example": example_id}
        return self.changes.record(who, "remove_photo", name, details)

    def gallery_changed(self) -> None:
        pass

    def pending(self) -> int:
        return self.waiting

    def undo(self, change_id: int, who: str) -> int:
        return self.changes.record(who, "undo")

    def _record(self, who: str, action: str, name: str, faces: Sequence[AnyFaceRef]) -> int:
        details = {"faces": [list(face) for face in faces]}
        return self.changes.record(who, action, name, details, {"faces": details["faces"]})


def painted_photo(*colours: str) -> bytes:
    """A PNG with a striped patch of each colour, which `PaintedFaces` finds as faces."""
    picture = np.full((160, 40 + 140 * len(colours), 3), 255, np.uint8)
    for number, colour in enumerate(colours):
        left = 40 + 140 * number
        picture[30:130, left : left + 100] = PaintedFaces.COLOURS[colour]
        for top in range(30, 130, 50):
            picture[top : top + 25, left : left + 100] //= 5
            picture[top : top + 25, left : left + 100] *= 3
    return cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes()
