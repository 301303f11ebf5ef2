"""The search for stored faces, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support.databases import open_tables

from rollcall.core.index_types import FaceRef
from rollcall.core.types import Encodings
from rollcall.database.database import IN_MEMORY, Database
from rollcall.index import nearest_faces
from rollcall.index.face_search import BLOCKS_AT_ONCE, FaceBlock, SqlFaceSearch

SPACE = "test-space"
SIZE = 16


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    urls = {"memory": IN_MEMORY, "sqlite": f"sqlite:///{tmp_path}/index.sqlite3"}
    url = urls.get(request.param) or request.getfixturevalue("postgres_url")
    with closing(open_tables(url)) as opened:
        yield opened


def drawn(count: int, seed: int = 1) -> Encodings:
    return np.random.default_rng(seed).normal(0, 0.2, (count, SIZE))


def test_faces_are_found_nearest_first_and_once(database: Database) -> None:
    search = SqlFaceSearch(database)
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


def test_several_queries_find_what_is_near_any_of_them(database: Database) -> None:
    search = SqlFaceSearch(database)
    rows = np.eye(3, SIZE)
    search.put(1, SPACE, [0, 1, 2], rows)
    found = search.find(rows[:2], SPACE, 0.5, 10)
    assert found == [(FaceRef(1, 0), 0.0), (FaceRef(1, 1), 0.0)]


def test_a_later_block_replaces_an_earlier_one(database: Database) -> None:
    search = SqlFaceSearch(database)
    rows = np.eye(2, SIZE)
    search.put(1, SPACE, [0], rows[:1])
    search.put_all([FaceBlock(1, SPACE, [4], rows[:1]), FaceBlock(1, SPACE, [5], rows[1:])])
    assert search.find(rows[:1], SPACE, 0.5, 10) == []
    assert search.find(rows[1:], SPACE, 0.5, 10) == [(FaceRef(1, 5), 0.0)]
    search.put(1, SPACE, [], rows[:0])
    assert search.count() == 0


def test_the_result_is_that_of_double_precision_over_all_rows(database: Database) -> None:
    search = SqlFaceSearch(database)
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
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_faces, "MAX_KEPT", 10)
    monkeypatch.setattr(nearest_faces, "ROWS_AT_ONCE", 8)
    search = SqlFaceSearch(database)
    rows = drawn(500)
    search.put(1, SPACE, range(500), rows)
    found = search.find(np.zeros((1, SIZE)), SPACE, 10.0, 5)
    lengths = np.linalg.norm(rows.astype(np.float16).astype(np.float64), axis=1)
    assert [face.number for face, _ in found] == np.argsort(lengths)[:5].tolist()


def test_encodings_without_a_number_are_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="1 numbers do not fit encodings of shape"):
        SqlFaceSearch(database).put(1, SPACE, [0], drawn(2))
