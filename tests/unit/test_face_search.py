"""The search for stored faces, on SQLite and on PostgreSQL."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.databases import open_tables

from rollcall.core.index_types import FaceRef
from rollcall.core.types import Encodings
from rollcall.database.database import IN_MEMORY, Database
from rollcall.index import cached_face_search, face_search, nearest_faces
from rollcall.index.cached_face_search import CachedFaceSearch
from rollcall.index.face_search import BLOCKS_AT_ONCE, FaceBlock, SqlFaceSearch

SPACE = "test-space"
SIZE = 16


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    urls = {"memory": IN_MEMORY, "sqlite": f"sqlite:///{tmp_path}/index.sqlite3"}
    url = urls.get(request.param) or request.getfixturevalue("postgres_url")
    with closing(open_tables(url)) as opened:
        yield opened


@pytest.fixture(params=[SqlFaceSearch, CachedFaceSearch])
def search(request: pytest.FixtureRequest, database: Database) -> SqlFaceSearch:
    kind: type[SqlFaceSearch] = request.param
    return kind(database)


def drawn(count: int, seed: int = 1) -> Encodings:
    return np.random.default_rng(seed).normal(0, 0.2, (count, SIZE))


def test_faces_are_found_nearest_first_and_once(search: SqlFaceSearch) -> None:
    query = np.zeros((1, SIZE))
    rows = np.zeros((5, SIZE))
    rows[:, 0] = (0.5, 0.25, 0.125, 0.75, 2)
    search.put(7, SPACE, [3, 3, 0, 1, 2], rows)
    found = search.find(query, SPACE, 1.0, 10)
    assert found == [(FaceRef(7, 0), 0.125), (FaceRef(7, 3), 0.25), (FaceRef(7, 1), 0.75)]
    assert search.find(query, SPACE, 1.0, 2) == found[:2]
    assert search.find(query, SPACE, 0.01, 10) == []
    assert search.find(query, "another-space", 1.0, 10) == []
    assert search.count() == 5


def test_several_queries_find_what_is_near_any_of_them(search: SqlFaceSearch) -> None:
    rows = np.eye(3, SIZE)
    search.put(1, SPACE, [0, 1, 2], rows)
    found = search.find(rows[:2], SPACE, 0.5, 10)
    assert found == [(FaceRef(1, 0), 0.0), (FaceRef(1, 1), 0.0)]


def test_a_later_block_replaces_an_earlier_one(search: SqlFaceSearch) -> None:
    rows = np.eye(2, SIZE)
    search.put(1, SPACE, [0], rows[:1])
    search.put_all([FaceBlock(1, SPACE, [4], rows[:1]), FaceBlock(1, SPACE, [5], rows[1:])])
    assert search.find(rows[:1], SPACE, 0.5, 10) == []
    assert search.find(rows[1:], SPACE, 0.5, 10) == [(FaceRef(1, 5), 0.0)]
    search.put(1, SPACE, [], rows[:0])
    assert search.count() == 0


def test_the_result_is_that_of_double_precision_over_all_rows(search: SqlFaceSearch) -> None:
    count = 3 * BLOCKS_AT_ONCE + 17
    rows = drawn(4 * count)
    numbers = [0, 0, 1, 2]
    search.put_all([FaceBlock(n, SPACE, numbers, rows[4 * n : 4 * n + 4]) for n in range(count)])
    queries = drawn(3, seed=2)
    stored = rows.astype(np.float16).astype(np.float64)
    distances = np.min([np.linalg.norm(stored - query, axis=1) for query in queries], axis=0)
    nearest: dict[FaceRef, float] = {}
    for index, distance in enumerate(distances.tolist()):
        face = FaceRef(index // 4, numbers[index % 4])
        nearest[face] = min(distance, nearest.get(face, np.inf))
    for max_distance in (0.5, 0.9, 3.0):
        wanted = sorted((d, face) for face, d in nearest.items() if d <= max_distance)[:100]
        assert wanted
        found = search.find(queries, SPACE, max_distance, 100)
        assert [(face, distance) for distance, face in wanted] == found


def test_candidates_beyond_the_limit_are_dropped(
    search: SqlFaceSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_faces, "MAX_KEPT", 10)
    monkeypatch.setattr(nearest_faces, "ROWS_AT_ONCE", 8)
    rows = drawn(500)
    search.put(1, SPACE, range(500), rows)
    found = search.find(np.zeros((1, SIZE)), SPACE, 10.0, 5)
    lengths = np.linalg.norm(rows.astype(np.float16).astype(np.float64), axis=1)
    assert [face.number for face, _ in found] == np.argsort(lengths)[:5].tolist()


def test_encodings_without_a_number_are_refused(search: SqlFaceSearch) -> None:
    with pytest.raises(ValueError, match="1 numbers do not fit encodings of shape"):
        search.put(1, SPACE, [0], drawn(2))


def everything(search: SqlFaceSearch) -> list[FaceRef]:
    return sorted(face for face, _ in search.find(np.zeros((1, SIZE)), SPACE, 50.0, 10_000))


def rows_in_memory(search: CachedFaceSearch) -> int:
    return sum(len(part.rows) for part in search._parts)


@contextmanager
def peak_bytes_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_a_search_reads_little_at_once(
    search: SqlFaceSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_search, "BYTES_AT_ONCE", 200_000)
    rows = drawn(5000)
    for video_id in range(40):
        search.put(video_id, SPACE, range(5000), rows)
    assert len(SqlFaceSearch.find(search, rows[:1], SPACE, 0.1, 99)) == 40
    with peak_bytes_below(2_500_000):  # all encodings take 7 MB
        SqlFaceSearch.find(search, rows[:1], SPACE, 0.1, 99)


def test_following_a_writer_takes_little_more_memory_than_the_faces(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_search, "BYTES_AT_ONCE", 200_000)
    monkeypatch.setattr(cached_face_search, "ROWS_OF_PART", 10_000)
    search, rows, row_bytes = CachedFaceSearch(database), drawn(5000), 2 * SIZE + 10
    with peak_bytes_below(45 * 5000 * row_bytes * 5 // 4 + 2_500_000):
        for video_id in range(45):
            search.put(video_id, SPACE, range(5000), rows)
            if video_id % 10 == 9:
                search.find(rows[:1], SPACE, 0.1, 99)
        search.put(3, SPACE, range(5000), rows)
        assert len(search.find(rows[:1], SPACE, 0.1, 99)) == 45
    assert rows_in_memory(search) <= 46 * 5000


def test_the_memory_follows_other_writers(database: Database) -> None:
    writer, search = SqlFaceSearch(database), CachedFaceSearch(database)
    assert everything(search) == []
    for video_id in range(5):
        writer.put(video_id, SPACE, [0, 1], drawn(2, seed=video_id))
        assert len(everything(search)) == 2 * (video_id + 1)
    writer.put(2, SPACE, [7], drawn(1, seed=9))
    writer.put(3, SPACE, [], drawn(0))
    assert everything(search) == everything(writer)
    writer.put(3, "another-space", [0], drawn(1))
    writer.put(4, SPACE, [], drawn(0))
    assert everything(search) == everything(writer)
    writer.put_all([FaceBlock(video_id, SPACE, [], drawn(0)) for video_id in range(5)])
    assert everything(search) == []
    writer.put(9, SPACE, [0], drawn(1))
    assert everything(search) == [FaceRef(9, 0)]


def test_faces_of_a_video_that_another_model_encoded_since_are_gone(database: Database) -> None:
    writer, search = SqlFaceSearch(database), CachedFaceSearch(database)
    for video_id in (1, 2):
        writer.put(video_id, SPACE, [0], drawn(1))
    assert len(everything(search)) == 2
    writer.put(2, "another-space", [0], drawn(1))
    assert everything(search) == [FaceRef(1, 0)]


def test_only_faces_of_the_searched_space_need_memory(database: Database) -> None:
    search = CachedFaceSearch(database, max_bytes=100 * (2 * SIZE + 10))
    search.put(1, "another-space", range(1000), drawn(1000))
    search.put(2, SPACE, [0], drawn(1))
    assert everything(search) == [FaceRef(2, 0)]
    assert rows_in_memory(search) > 0


def test_removed_faces_take_no_place_in_the_result(database: Database) -> None:
    writer, search = SqlFaceSearch(database), CachedFaceSearch(database)
    rows = np.eye(1, SIZE) * np.arange(1, 11)[:, None]
    for video_id, row in enumerate(rows):
        writer.put(video_id, SPACE, [0], row[None])
    zero = np.zeros((1, SIZE))
    assert [face.video_id for face, _ in search.find(zero, SPACE, 50, 3)] == [0, 1, 2]
    for video_id in (0, 2, 3):
        writer.put(video_id, SPACE, [], rows[:0])
    assert [face.video_id for face, _ in search.find(zero, SPACE, 50, 3)] == [1, 4, 5]


def test_memory_is_used_again_for_replaced_faces(database: Database) -> None:
    search = CachedFaceSearch(database)
    for round_ in range(60):
        for video_id in range(3):
            search.put(video_id, SPACE, [0] * 100, drawn(100, seed=round_))
        assert len(everything(search)) == 3
    assert rows_in_memory(search) < 500


def test_more_encodings_than_the_memory_holds(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    search = CachedFaceSearch(database, max_bytes=100 * (2 * SIZE + 10))
    search.put(1, SPACE, range(90), drawn(90))
    assert len(everything(search)) == 90
    assert rows_in_memory(search) > 0
    search.put(2, SPACE, range(1000), drawn(1000))
    assert len(everything(search)) == 1090
    assert len(everything(search)) == 1090
    assert rows_in_memory(search) == 0
    assert [r.getMessage() for r in caplog.records] == [
        "the stored encodings need more than 0 MB, so each search for a face reads the database"
    ]
