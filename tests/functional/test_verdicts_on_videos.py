"""Verdicts on real faces, from a video to the index: look-alikes are told apart from then on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.databases import open_file
from support.scenes import ALONE, STRANGERS, Appearance, Portrait, Scene, photo

from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import empty_gallery
from rollcall.core.index_types import FaceRef, IndexedVideo
from rollcall.core.keys import faces_key, report_key, result_key
from rollcall.core.protocols import FaceEngine
from rollcall.core.results import parse_csv
from rollcall.core.settings import Settings
from rollcall.core.types import VideoRef
from rollcall.corrections.correction_parts import build_corrections
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, unknown_face, video
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_locations import CachedGallery, GalleryFile, read_gallery
from rollcall.index.rebuild import Rebuild
from rollcall.index.sql_index import SqlIndex
from rollcall.pipeline import Pipeline
from rollcall.stores.memory import MemoryStore, MemoryStudents
from rollcall.wiring import build_engine, build_recogniser

ENROLLED = STRANGERS[4]
ADA = ENROLLED._replace(mirrored=True)
LOOKALIKE = STRANGERS[5]
"""Another person in the same group picture. With TOLERANCE=0.7, this person is taken for Ada."""


@cache
def engine() -> FaceEngine:
    return build_engine(Settings())


class Flow:
    """The function and the indexer for videos in memory, one after the other."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.settings = Settings(
            report_bucket="rollcall-reports", keep_faces="encodings", tolerance=0.7, scan="auto"
        )
        self.folder, self.database = folder, database
        self.store = MemoryStore()
        self.location = GalleryFile(folder / "gallery.npz")
        self.index = SqlIndex(database)
        students = MemoryStudents()
        self.corrections, self.rematcher = build_corrections(
            self.settings, database, self.store, self.location, students
        )
        self.galleries = CachedGallery(self.location, 0.0, space=DLIB)
        recogniser = build_recogniser(self.settings, engine())
        self.pipeline = Pipeline(self.settings, self.store, students, recogniser, self.galleries)

    def enrol(self, name: str, portrait: Portrait) -> None:
        pixels = photo(portrait)
        (face,) = engine().detect(pixels)
        encoding = engine().encode(pixels, [face])[0]
        self.location.save(render_gallery(empty_gallery().with_encoding(name, encoding)))

    def film(self, key: str, *shown: Portrait, face_px: int = 150) -> None:
        """Render a video in which these people are side by side, and recognise it."""
        step = 1280 // (len(shown) + 1)
        scene = Scene(
            [
                Appearance("", portrait, face_px, step * (place + 1), 330, surroundings=ALONE)
                for place, portrait in enumerate(shown)
            ]
        )
        path = scene.write(self.folder / "scene.mp4")
        bucket = self.settings.input_bucket
        self.store.write(bucket, key, path.read_bytes(), "video/mp4", {})
        self.pipeline.run(VideoRef(bucket, key))
        self.rebuild()

    def delete(self, keys: Sequence[str]) -> None:
        """Delete what is known about videos, so that only the others are left."""
        for key in keys:
            self.store.delete(self.settings.report_bucket, report_key(key))
            self.store.delete(self.settings.report_bucket, faces_key(key))
        self.rebuild()

    def rebuild(self) -> None:
        job = Rebuild(
            self.database, self.store, self.settings.input_bucket, self.settings.report_bucket
        )
        job.list_reports()
        job.put_reports()
        job.remove_others()

    def indexed(self, key: str) -> IndexedVideo:
        video_id = self.index.id_of(self.settings.input_bucket, key)
        found = self.index.get(video_id) if video_id else None
        assert found is not None
        return found

    def names(self, key: str) -> list[str]:
        """The names in the index, which have to be those of the result and of the report."""
        names = [each.name or "unknown" for each in self.indexed(key).people]
        assert [row["name"] for row in parse_csv(self.result(key))] == names
        assert [each["name"] for each in self.report(key)["people"]] == names
        return names

    def face(self, key: str, name: str) -> FaceRef:
        video_id = self.index.id_of(self.settings.input_bucket, key)
        assert video_id is not None
        number = next(each.number for each in self.indexed(key).people if each.name == name)
        return FaceRef(video_id, number)

    def result(self, key: str) -> bytes:
        return self.store.read(self.settings.output_bucket, result_key(key), 1 << 20)

    def report(self, key: str) -> dict[str, Any]:
        body = self.store.read(self.settings.report_bucket, report_key(key), 1 << 20)
        document: dict[str, Any] = json.loads(body)
        return document

    def everything(self, keys: Sequence[str]) -> tuple[object, ...]:
        """The gallery's version, the results, and all rows of the index without their ids."""
        ids = ("id", "person_id", "group_id")
        seen = [column for column in appearance.c if column.name not in ids]
        queries = (
            select(video).order_by(video.c.id),
            select(*seen, person.c.name)
            .outerjoin(person, person.c.id == appearance.c.person_id)
            .order_by(appearance.c.video_id, appearance.c.number),
            select(person.c.name, person.c.videos, person.c.last_seen_s).order_by(person.c.name),
            select(unknown_face.c.video_id, unknown_face.c.number, unknown_face.c.encoding)
            .where(unknown_face.c.number >= 0)  # not those that are remembered for an undo
            .order_by(unknown_face.c.video_id, unknown_face.c.number),
        )
        with self.database.reading() as connection:
            rows = [connection.execute(query).all() for query in queries]
        results = {key: (self.result(key), self.report(key)) for key in keys}
        return (read_gallery(self.location).version, results, *rows)


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    with closing(open_file(tmp_path / "inbox.sqlite3")) as database:
        yield Flow(tmp_path, database)


def test_a_lookalike_is_not_ada_any_more(flow: Flow) -> None:
    flow.enrol("Ada", ENROLLED)
    earlier = ["ada.mp4", "ben 1.mp4", "ben 2.mp4", "both.mp4"]
    flow.film("ada.mp4", ADA)
    flow.film("ben 1.mp4", LOOKALIKE)
    flow.film("ben 2.mp4", LOOKALIKE._replace(mirrored=True), face_px=120)
    flow.film("both.mp4", ADA, LOOKALIKE, face_px=170)
    assert [flow.names(key) for key in earlier[:3]] == [["Ada"], ["Ada"], ["Ada"]]
    before = flow.everything(earlier)

    change = flow.corrections.is_not([flow.face("ben 1.mp4", "Ada")], "Ada", "eve")
    done = flow.rematcher.run_due()
    assert (done.failed, done.postponed) == (0, 0)
    assert flow.names("ada.mp4") == ["Ada"]
    assert flow.names("ben 1.mp4") == ["unknown"]
    assert flow.names("ben 2.mp4") == ["unknown"]
    assert sorted(flow.names("both.mp4")) == ["Ada", "unknown"]
    flow.film("later ada.mp4", ADA, face_px=110)
    flow.film("later ben.mp4", LOOKALIKE, face_px=110)
    assert flow.names("later ada.mp4") == ["Ada"]
    assert flow.names("later ben.mp4") == ["unknown"]
    later = [*earlier, "later ada.mp4", "later ben.mp4"]
    corrected = flow.everything(later)
    flow.rebuild()
    assert flow.everything(later) == corrected

    flow.corrections.undo(change, "eve")
    flow.rematcher.run_due()
    assert flow.names("later ben.mp4") == ["Ada"]
    flow.delete(later[4:])
    assert flow.everything(earlier) == before
    flow.rebuild()
    assert flow.everything(earlier) == before


def test_a_lookalike_gets_a_name(flow: Flow) -> None:
    flow.enrol("Ada", ENROLLED)
    flow.film("both.mp4", ADA, LOOKALIKE)
    flow.film("ben.mp4", LOOKALIKE._replace(mirrored=True))
    before = flow.everything(["both.mp4", "ben.mp4"])
    assert flow.names("ben.mp4") == ["Ada"]
    change = flow.corrections.is_person([flow.face("ben.mp4", "Ada")], "Ben", "eve")
    flow.rematcher.run_due()
    assert flow.names("ben.mp4") == ["Ben"]
    assert sorted(flow.names("both.mp4")) == ["Ada", "Ben"]
    flow.corrections.undo(change, "eve")
    flow.rematcher.run_due()
    assert flow.everything(["both.mp4", "ben.mp4"]) == before
