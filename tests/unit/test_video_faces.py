"""Stored faces are only searched beside the people that they belong to."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from support.index_samples import BUCKET, appearance, indexed
from support.stored_reports import faces_of

from rollcall.core.encoding_space import DLIB
from rollcall.core.index_types import FaceRef, IndexedVideo
from rollcall.database.database import Database
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.forgotten_people import PersonInDatabase
from rollcall.index.report_reader import VideoWithFaces
from rollcall.index.sql_index import SqlIndex
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.index.video_faces import VideoFaces

EARLIER = indexed("a.mp4", appearance(0, "Ada"), appearance(1, "", (2.0, 3.0)), kept="encodings")
PEOPLE = appearance(0, "", (2.0, 3.0)), appearance(1, "Ben", (4.0, 5.0)), appearance(2, "Ada")
LATER = replace(EARLIER, people=PEOPLE, etag="later", finished_s=EARLIER.finished_s + 60)


def put_index(database: Database, video: IndexedVideo) -> int:
    SqlIndex(database).put([video])
    id_ = SqlIndex(database).id_of(BUCKET, video.key)
    assert id_ is not None
    return id_


def put_faces(database: Database, id_: int, video: IndexedVideo) -> None:
    VideoFaces(database).put({id_: VideoWithFaces(video, faces_of(video))})


def searchable(database: Database, video: IndexedVideo) -> list[FaceRef]:
    """Whom the face search finds for each person of the video."""
    rows = faces_of(video)
    search = SqlFaceSearch(database)
    found = [
        search.find(rows.appearance_encodings(person.number)[0], DLIB.name, 0.1, 9)
        for person in video.people
    ]
    return [face for each in found for face, _ in each]


def test_the_faces_of_a_video_are_searched_and_grouped(database: Database) -> None:
    id_ = put_index(database, EARLIER)
    put_faces(database, id_, EARLIER)
    assert searchable(database, EARLIER) == [FaceRef(id_, 0), FaceRef(id_, 1)]
    (group,) = SqlUnknownGroups(database).largest(9)
    assert group.faces == (FaceRef(id_, 1),)
    assert VideoFaces(database).has(id_)


@pytest.mark.parametrize("later", [LATER, replace(LATER, etag=EARLIER.etag)])
def test_the_faces_of_an_earlier_result_change_nothing(
    database: Database, later: IndexedVideo
) -> None:
    put_index(database, EARLIER)
    id_ = put_index(database, later)
    put_faces(database, id_, EARLIER)
    assert not VideoFaces(database).has(id_)
    assert SqlUnknownGroups(database).count() == 0
    put_faces(database, id_, later)
    put_faces(database, id_, EARLIER)
    assert searchable(database, later) == [FaceRef(id_, number) for number in range(3)]
    assert [each.faces for each in SqlUnknownGroups(database).largest(9)] == [(FaceRef(id_, 0),)]


def test_the_faces_of_a_removed_video_do_not_come_back(database: Database) -> None:
    id_ = put_index(database, EARLIER)
    SqlIndex(database).remove(BUCKET, EARLIER.key)
    put_faces(database, id_, EARLIER)
    assert not VideoFaces(database).has(id_)
    assert SqlUnknownGroups(database).count() == 0


def test_the_faces_of_a_forgotten_person_do_not_come_back(database: Database) -> None:
    id_ = put_index(database, EARLIER)
    list(PersonInDatabase(database, "Ada").remove())
    put_faces(database, id_, EARLIER)
    assert searchable(database, EARLIER) == []


def test_a_result_that_is_being_written_is_waited_for(database: Database) -> None:
    id_ = put_index(database, EARLIER)
    index, writing = SqlIndex(database), threading.Event()

    def write_slowly() -> None:
        with database.transaction() as connection:
            index.put_in(connection, [LATER])
            writing.set()
            time.sleep(0.3)

    writer = threading.Thread(target=write_slowly)
    writer.start()
    try:
        assert writing.wait(60)
        put_faces(database, id_, EARLIER)
    finally:
        writer.join()
    assert not VideoFaces(database).has(id_)
    assert SqlUnknownGroups(database).count() == 0
