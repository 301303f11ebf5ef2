"""Videos that were recognised already, without a video: results, reports, stored faces and index.

A face is an encoding that is seen at some times. Everything else is decided and written by the real
code, so tests can choose how alike people look.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery
from rollcall.core.index_types import FaceRef, IndexedVideo, KeptFaces
from rollcall.core.keys import faces_key, report_key, result_key
from rollcall.core.protocols import ObjectStore
from rollcall.core.reports import AnswerFacts, answer_document, report_document
from rollcall.core.results import parse_csv, render_csv
from rollcall.core.settings import Settings
from rollcall.core.tolerance import decision_for
from rollcall.core.types import Box, Encodings, Face, FaceQuality, Sighting, Student, VideoRef
from rollcall.corrections.correction_parts import build_corrections
from rollcall.database.database import Database
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_locations import GalleryFile, read_gallery
from rollcall.index.change_log import SqlChangeLog
from rollcall.index.documents import indexed_video
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.report_reader import VideoWithFaces
from rollcall.index.sql_index import SqlIndex
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.index.video_faces import VideoFaces
from rollcall.recognition.deciding import SearchFacts, decide
from rollcall.recognition.stored_faces import parse_faces, render_faces, stored_faces
from rollcall.stores.memory import MemoryStore, MemoryStudents
from support.databases import open_tables

QUALITY = FaceQuality(120, 1.0, 0.0, 0.99)
Seen = Mapping[str, Sequence[float]]
"""The times at which a face is seen, by the name in `Filmed.faces`."""


def direction(number: int) -> Encodings:
    """One of 128 encodings that are at right angles to each other."""
    return np.eye(DLIB.size)[number]


def between(left: Encodings, right: Encodings, distance: float) -> Encodings:
    """The encoding at this distance from `left`, on the way to `right`."""
    return left + (right - left) * distance / float(np.linalg.norm(right - left))


class Filmed:
    """A store, a database and a gallery, with videos in them."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        settings: Settings = Settings(report_bucket="rollcall-reports"),  # noqa: B008
        store: ObjectStore | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.store: ObjectStore = store or MemoryStore()
        self.students = MemoryStudents()
        self.location = GalleryFile(folder / "gallery.npz")
        self.index = SqlIndex(database)
        self.search = SqlFaceSearch(database)
        self.groups = SqlUnknownGroups(database)
        self.log = SqlChangeLog(database)
        self.corrections, self.rematcher = build_corrections(
            self.settings, database, self.store, self.location, self.students
        )
        self.faces: dict[str, Encodings] = {}
        self._clock_s = 1_795_237_499.0

    def enrol(self, **people: Encodings) -> None:
        encodings = np.array(list(people.values())).reshape(len(people), DLIB.size)
        self.location.save(render_gallery(Gallery(list(people), encodings)))

    @property
    def gallery(self) -> Gallery:
        return read_gallery(self.location)

    def film(
        self,
        key: str,
        seen: Seen,
        *,
        gallery: Gallery | None = None,
        kept: KeptFaces = "encodings",
        etag: str = "",
    ) -> int:
        """Write what function and indexer write for a video. Return its row in the index."""
        gallery = gallery or self.gallery
        etag = etag or hashlib.md5(key.encode()).hexdigest()
        input_bucket = self.settings.input_bucket
        self.store.write(input_bucket, key, b"video " + etag.encode(), "video/mp4", {})
        etag = self.store.head(input_bucket, key).etag
        times_s = sorted({float(time_s) for times in seen.values() for time_s in times})
        sightings = [
            self._sighting(gallery, name, time_s)
            for time_s in times_s
            for name, times in seen.items()
            if time_s in times
        ]
        looks = SearchFacts(tuple(times_s), (), max(times_s, default=0) + 1.0, 9, 1, 1, 1, None)
        decision = decision_for(gallery, None, DLIB)
        recognition = decide(tuple(sightings), decision, looks)
        students = {person.name: self.students.get(person.name) for person in recognition.people}
        known = {name: student for name, student in students.items() if student}
        self._clock_s += 3600
        info = replace(self.store.head(input_bucket, key), modified_s=self._clock_s)
        place = self.settings.output_bucket, result_key(key)
        at_s = self._clock_s + 5
        facts = AnswerFacts(f"work-{key}", info, *place, at_s, gallery.version, "engine", kept)
        answer = answer_document(recognition, known, facts)
        metadata = {"source-etag": etag, "gallery": gallery.version, "work-id": f"work-{key}"}
        self.store.write(*place, render_csv(recognition.people, known), "text/csv", metadata)
        report = report_document(answer, recognition, VideoRef(input_bucket, key, etag=etag))
        rendered, reports = json.dumps(report, indent=1).encode(), self.settings.report_bucket
        self.store.write(reports, report_key(key), rendered, "application/json", {})
        self.index.put([indexed_video(answer)])
        video_id = self.id_of(key)
        if kept != "none":
            faces = stored_faces(recognition, etag, DLIB)
            self.store.write(reports, faces_key(key), render_faces(faces), "", {})
            self._put_faces(key)
        return video_id

    def _sighting(self, gallery: Gallery, name: str, time_s: float) -> Sighting:
        # Stored as float32, so that the stored face is exactly the recognised one.
        encoding = self.faces[name].astype(np.float32).astype(np.float64)
        place = 100 * list(self.faces).index(name)
        face = Face(Box(0, place + 80, 80, place), np.zeros((5, 2)), QUALITY, encoding)
        return Sighting(time_s, face, gallery.nearest(encoding[None])[0])

    def add_student(self, name: str, major: str, year: str) -> None:
        self.students.students[name] = Student(name, major, year)

    def id_of(self, key: str) -> int:
        video_id = self.index.id_of(self.settings.input_bucket, key)
        assert video_id is not None
        return video_id

    def indexed(self, key: str) -> IndexedVideo:
        video = self.index.get(self.id_of(key))
        assert video is not None
        return video

    def face(self, key: str, name: str = "") -> FaceRef:
        """The first face in a video with this name."""
        number = next(each.number for each in self.indexed(key).people if each.name == name)
        return FaceRef(self.id_of(key), number)

    def names(self, key: str) -> list[str]:
        """The names in the index, which have to be those of the result and of the report."""
        index = [person.name or "unknown" for person in self.indexed(key).people]
        assert [row["name"] for row in parse_csv(self.result(key))] == index
        assert [person["name"] for person in self.report(key)["people"]] == index
        return index

    def result(self, key: str) -> bytes:
        return self.store.read(self.settings.output_bucket, result_key(key), 1 << 20)

    def metadata(self, key: str) -> dict[str, str]:
        return dict(self.store.metadata(self.settings.output_bucket, result_key(key)))

    def report(self, key: str) -> dict[str, Any]:
        body = self.store.read(self.settings.report_bucket, report_key(key), 1 << 20)
        document: dict[str, Any] = json.loads(body)
        return document

    def state(self, keys: Sequence[str]) -> dict[str, tuple[object, ...]]:
        """Everything that is known about videos, for comparisons."""
        return {
            key: (self.result(key), self.report(key), self.indexed(key), self.metadata(key))
            for key in keys
        }

    def rebuild(self, keys: Sequence[str]) -> None:
        """Write the index again from the reports and the stored faces."""
        for key in keys:
            video = indexed_video(self.report(key))
            self.index.put([video])
            if video.kept != "none":
                self._put_faces(key)

    def _put_faces(self, key: str) -> None:
        stored = self.store.read(self.settings.report_bucket, faces_key(key), 1 << 24)
        found = VideoWithFaces(self.indexed(key), parse_faces(stored))
        VideoFaces(self.database).put({self.id_of(key): found})


@contextmanager
def open_filmed(
    request: pytest.FixtureRequest, folder: Path, clock: Callable[[], float] | None = None
) -> Iterator[Filmed]:
    """Videos in a database with this clock, or the real one.

    The fixture's parameter is `sqlite` or `postgresql`.
    """
    is_postgresql = request.param == "postgresql"
    file = f"sqlite:///{folder}/log.sqlite3"
    url = request.getfixturevalue("postgres_url") if is_postgresql else file
    with closing(open_tables(url, clock)) as database:
        yield Filmed(folder, database)
