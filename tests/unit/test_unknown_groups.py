"""The groups of unknown faces, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import insert, select
from support.databases import open_tables

from rollcall.core.encoding_space import EncodingSpace
from rollcall.core.index_types import FaceRef
from rollcall.core.types import Encodings
from rollcall.database.database import IN_MEMORY, Database
from rollcall.database.index_tables import appearance, unknown_face, unknown_group
from rollcall.index import centres, grouping
from rollcall.index.centres import Rows
from rollcall.index.overview_queries import unknown_groups
from rollcall.index.unknown_groups import SqlUnknownGroups, UnknownFaces

SIZE = 32
SPACE = EncodingSpace("test-space", SIZE, 0.6, 0.45, 0.1, 0.02)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    urls = {"memory": IN_MEMORY, "sqlite": f"sqlite:///{tmp_path}/index.sqlite3"}
    url = urls.get(request.param) or request.getfixturevalue("postgres_url")
    with closing(open_tables(url)) as opened:
        yield opened


@pytest.fixture
def groups(database: Database) -> SqlUnknownGroups:
    return SqlUnknownGroups(database, SPACE)


def person(number: int) -> Encodings:
    """The middle of a person's encodings; two people are 0.85 apart."""
    return np.eye(SIZE)[number] * 0.6


def looks(number: int, count: int, seed: int = 0) -> Encodings:
    """Looks at a person, 0.4 from each other."""
    noise = np.random.default_rng(1000 * number + seed).normal(size=(count, SIZE))
    return person(number) + 0.28 * noise / np.linalg.norm(noise, axis=1)[:, None]


def put(groups: SqlUnknownGroups, video_id: int, rows: Sequence[Encodings], at_s: float) -> None:
    """Put one appearance for each row."""
    numbers = list(range(len(rows)))
    groups.put(video_id, SPACE.name, numbers, np.array(rows).reshape(-1, SIZE), at_s)


def members(database: Database) -> dict[FaceRef, int]:
    with database.reading() as connection:
        rows = connection.execute(select(unknown_face)).all()
    return {FaceRef(row.video_id, row.number): row.group_id for row in rows}


def partition(database: Database) -> set[frozenset[FaceRef]]:
    """The groups as sets of faces."""
    parts: dict[int, set[FaceRef]] = {}
    for face, group_id in members(database).items():
        parts.setdefault(group_id, set()).add(face)
    return {frozenset(part) for part in parts.values()}


def check_counts(database: Database) -> None:
    """Compare the counts, times and centres of all groups with their members."""
    with database.reading() as connection:
        rows = connection.execute(select(unknown_group)).all()
        faces = connection.execute(select(unknown_face)).all()
    assert {row.id for row in rows if row.appearances} == {face.group_id for face in faces}
    for row in rows:
        own = [face for face in faces if face.group_id == row.id]
        assert row.appearances == len(own)
        if own:
            times = [face.uploaded_s for face in own]
            assert (row.first_seen_s, row.last_seen_s) == (min(times), max(times))
        if own and not row.same:
            encodings = np.array([np.frombuffer(face.encoding, "<f2") for face in own], float)
            centre = np.frombuffer(row.centre, "<f4")
            assert np.abs(encodings.mean(axis=0) - centre).max() < 1e-5


def test_one_person_is_one_group(database: Database, groups: SqlUnknownGroups) -> None:
    ada, ben = looks(1, 4), looks(2, 3)
    for video_id in range(3):
        put(groups, video_id, [ada[video_id], ben[video_id]], 100.0 + video_id)
    put(groups, 3, [ada[3]], 103.0)
    first, second = groups.largest(10)
    assert (first.appearances, first.first_seen_s, first.last_seen_s) == (4, 100.0, 103.0)
    assert (second.appearances, second.first_seen_s, second.last_seen_s) == (3, 100.0, 102.0)
    assert groups.count() == 2
    assert groups.largest(1, offset=1) == [second]
    assert groups.get(first.id) == first
    assert groups.faces(first.id, 2) == [FaceRef(3, 0), FaceRef(2, 0)]
    assert set(first.faces) == {FaceRef(n, 0) for n in range(4)}
    check_counts(database)


def test_several_encodings_of_an_appearance_are_one_member(
    database: Database, groups: SqlUnknownGroups
) -> None:
    groups.put(1, SPACE.name, [4, 4, 2], np.vstack([looks(1, 2), looks(2, 1)]), 5.0)
    assert members(database).keys() == {FaceRef(1, 4), FaceRef(1, 2)}
    check_counts(database)


def test_the_appearances_of_the_index_name_their_group(
    database: Database, groups: SqlUnknownGroups
) -> None:
    with database.transaction() as connection:
        rows = [{"video_id": 7, "number": n, "certainty": "", "intervals": ""} for n in range(2)]
        connection.execute(insert(appearance), rows)
    put(groups, 7, [person(1)], 1.0)
    with database.reading() as connection:
        columns = select(appearance.c.number, appearance.c.group_id).order_by("number")
        shown = connection.execute(columns).all()
    assert [tuple(row) for row in shown] == [(0, members(database)[FaceRef(7, 0)]), (1, None)]
    put(groups, 7, [], 1.0)
    with database.reading() as connection:
        assert connection.execute(select(appearance.c.group_id)).scalars().all() == [None, None]


def test_a_video_that_is_put_again_keeps_its_groups(
    database: Database, groups: SqlUnknownGroups
) -> None:
    put(groups, 1, [person(1), person(2)], 10.0)
    before = members(database)
    put(groups, 1, [person(1), person(2)], 10.0)
    assert members(database) == before
    check_counts(database)


def test_groups_shrink_and_go_when_faces_leave(
    database: Database, groups: SqlUnknownGroups
) -> None:
    ada = looks(1, 3)
    for video_id, at_s in enumerate((10.0, 20.0, 30.0)):
        put(groups, video_id, [ada[video_id]], at_s)
    put(groups, 0, [], 10.0)
    (group,) = groups.largest(10)
    assert (group.appearances, group.first_seen_s, group.last_seen_s) == (2, 20.0, 30.0)
    check_counts(database)
    put(groups, 1, [], 20.0)
    put(groups, 2, [person(5)], 30.0)
    (last,) = groups.largest(10)
    assert last.id != group.id
    assert groups.get(group.id) is None
    check_counts(database)


def test_encodings_of_another_space_are_not_grouped(groups: SqlUnknownGroups) -> None:
    put(groups, 1, [person(1)], 1.0)
    groups.put(1, "another-space", [0], np.ones((1, 5)), 1.0)
    assert groups.count() == 0


def test_a_writer_of_another_space_removes_faces_too(database: Database) -> None:
    large = EncodingSpace("large-space", 4 * SIZE, 0.6, 0.45, 0.1, 0.02)
    groups, others = SqlUnknownGroups(database, SPACE), SqlUnknownGroups(database, large)
    rows = np.eye(2, 4 * SIZE)
    for video_id in range(2):
        others.put(video_id, large.name, [0, 1], rows, 10.0 + video_id)
    put(groups, 0, [], 0.0)
    check_counts(database)
    assert [group.appearances for group in others.largest(10)] == [1, 1]
    put(groups, 1, [person(1)], 0.0)
    check_counts(database)
    assert [group.appearances for group in others.largest(10)] == [1]


def test_encodings_of_another_size_are_refused(groups: SqlUnknownGroups) -> None:
    with pytest.raises(ValueError, match="1 numbers do not fit encodings of shape"):
        groups.put(1, SPACE.name, [0], np.ones((1, 5)), 1.0)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_order_hardly_matters(database: Database, batch: int) -> None:
    faces = [(p, look) for p in range(12) for look in looks(p, 8)]
    wanted = {frozenset(FaceRef(8 * p + n, 0) for n in range(8)) for p in range(12)}
    for seed in range(3):
        groups = SqlUnknownGroups(database, SPACE)
        groups.put_all([UnknownFaces(id_, "", [], looks(0, 0), 0.0) for id_ in range(len(faces))])
        order = np.random.default_rng(seed).permutation(len(faces)).tolist()
        videos = [
            UnknownFaces(video_id, SPACE.name, [0], faces[video_id][1][None], float(video_id))
            for video_id in order
        ]
        for start in range(0, len(videos), batch):
            groups.put_all(videos[start : start + batch])
        assert partition(database) == wanted
        check_counts(database)


def shown(face: Encodings) -> Callable[[], Rows]:
    return lambda: face[None].astype(np.float32)


def at(place: float) -> Encodings:
    """A look at somebody, on a line of looks."""
    return person(1) + np.eye(SIZE)[2] * place


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a_face_that_came_too_early_joins_later(
    groups: SqlUnknownGroups, order: tuple[int, ...]
) -> None:
    # The last is 0.5 from the first, and 0.45 from the middle of the others.
    for number in order:
        put(groups, number, [at((0.0, 0.1, 0.5)[number])], 1.0)
    assert [group.appearances for group in groups.largest(10)] == [3]


def test_a_face_that_leaves_and_comes_back_changes_no_other_group(
    database: Database, groups: SqlUnknownGroups
) -> None:
    # Without the second face, the first would join the third.
    for video_id, place in enumerate((0.47, 0.75, 0.0)):
        put(groups, video_id, [at(place)], 1.0)
    before = members(database)
    assert before[FaceRef(0, 0)] == before[FaceRef(1, 0)] != before[FaceRef(2, 0)]
    none = np.zeros((0, SIZE))
    groups.put_all([UnknownFaces(1, SPACE.name, [], none, 1.0, shown(at(0.75)))])
    left = members(database)
    assert left.pop(FaceRef(1, -1)) == -before[FaceRef(1, 0)]
    assert left == {face: before[face] for face in left}
    put(groups, 1, [at(0.75)], 1.0)
    assert members(database) == before
    check_counts(database)


def test_another_upload_forgets_the_group_of_a_face(
    database: Database, groups: SqlUnknownGroups
) -> None:
    put(groups, 1, [at(0.0)], 1.0)
    none = np.zeros((0, SIZE))
    groups.put_all([UnknownFaces(1, SPACE.name, [], none, 2.0, shown(at(0.0)))])
    assert members(database) == {}


def test_a_second_writer_sees_the_groups_of_the_first(database: Database) -> None:
    one, two = SqlUnknownGroups(database, SPACE), SqlUnknownGroups(database, SPACE)
    ada = looks(1, 6)
    for video_id, look in enumerate(ada):
        put(two if video_id % 2 else one, video_id, [look], 1.0)
    assert one.count() == 1
    for video_id in range(6):
        put(two, video_id, [], 1.0)
    put(one, 9, [ada[0]], 1.0)  # the group that this writer remembers is gone
    assert members(database).keys() == {FaceRef(9, 0)}
    check_counts(database)


def test_groups_are_read_and_compared_in_small_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centres, "GROUPS_AT_ONCE", 3)
    monkeypatch.setattr(grouping, "MAX_DISTANCES", 25)
    faces = [(p, look) for look in range(4) for p in range(10)]
    for start in range(0, len(faces), 8):
        writer = SqlUnknownGroups(database, SPACE)  # reads all groups
        for video_id, (p, look) in enumerate(faces[start : start + 8], start):
            put(writer, video_id, [looks(p, 4)[look]], float(video_id))
    assert partition(database) == {
        frozenset(FaceRef(n, 0) for n, face in enumerate(faces) if face[0] == p) for p in range(10)
    }
    same = [np.array([person(p), person(p + 5)]) for p in range(5)]
    SqlUnknownGroups(database, SPACE).set_same(same)
    assert [group.appearances for group in writer.largest(10)] == [8] * 5
    check_counts(database)


def test_many_groups_take_little_memory(
    database: Database, groups: SqlUnknownGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centres, "GROUPS_AT_ONCE", 500)
    monkeypatch.setattr(grouping, "MAX_DISTANCES", 1 << 17)
    rows = np.random.default_rng(1).normal(size=(20_000, SIZE)).astype("<f4")
    facts = {"space": SPACE.name, "appearances": 1, "same": "", "version": 1}
    values = [facts | {"centre": row.tobytes()} for row in rows]
    with database.transaction() as connection:
        connection.execute(insert(unknown_group), values)
    tracemalloc.start()
    try:
        for video_id in range(2):
            put(groups, video_id, rows[:200].astype(np.float64), 1.0)
        assert tracemalloc.get_traced_memory()[1] < 3 * rows.nbytes
    finally:
        tracemalloc.stop()
    assert groups.count() == 20_000


def test_writers_at_the_same_time_lose_nothing(database: Database) -> None:
    def work(start: int) -> None:
        groups = SqlUnknownGroups(database, SPACE)
        for n in range(start, 40, 4):
            put(groups, n, [looks(n % 5, 1, seed=n)[0]], float(n))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {frozenset(FaceRef(n, 0) for n in range(p, 40, 5)) for p in range(5)}
    assert partition(database) == wanted
    check_counts(database)


def test_a_verdict_joins_groups_until_it_is_undone(
    database: Database, groups: SqlUnknownGroups
) -> None:
    for video_id in range(4):
        put(groups, video_id, [looks(1, 4)[video_id], looks(2, 4)[video_id]], float(video_id))
    put(groups, 9, [person(3)], 9.0)
    before = partition(database)
    same = np.array([person(1), person(2)])
    groups.set_same([same])
    groups.set_same([same])
    joined = groups.largest(10)
    assert [group.appearances for group in joined] == [8, 1]
    assert (joined[0].first_seen_s, joined[0].last_seen_s) == (0.0, 3.0)
    check_counts(database)
    # A later look at either view joins, and a stranger between the two views does not.
    put(groups, 10, [looks(1, 1, seed=5)[0], looks(2, 1, seed=5)[0]], 10.0)
    put(groups, 11, [(person(1) + person(2)) / 2 + person(7) / 2], 11.0)
    assert [group.appearances for group in groups.largest(10)] == [10, 1, 1]
    put(groups, 10, [], 10.0)
    put(groups, 11, [], 11.0)
    groups.set_same([])
    assert partition(database) == before
    check_counts(database)


def test_a_face_that_comes_back_after_the_undo_of_a_verdict_joins_its_like(
    database: Database, groups: SqlUnknownGroups
) -> None:
    """Its group was taken apart meanwhile."""
    for video_id, face in enumerate([at(0.0), at(0.1), person(2)]):
        put(groups, video_id, [face], 1.0)
    groups.set_same([np.array([at(0.0), person(2)])])
    none = np.zeros((0, SIZE))
    groups.put_all([UnknownFaces(1, SPACE.name, [], none, 1.0, shown(at(0.1)))])
    groups.set_same([])
    put(groups, 1, [at(0.1)], 1.0)
    assert partition(database) == {
        frozenset({FaceRef(0, 0), FaceRef(1, 0)}),
        frozenset({FaceRef(2, 0)}),
    }
    check_counts(database)


def test_verdicts_that_share_a_face_join_all_their_groups(
    database: Database, groups: SqlUnknownGroups
) -> None:
    put(groups, 1, [person(1), person(2), person(3), person(4)], 1.0)
    first, second = np.array([person(1), person(2)]), np.array([person(2), person(3)])
    groups.set_same([first, second])
    assert [group.appearances for group in groups.largest(10)] == [3, 1]
    groups.set_same([second])
    assert [group.appearances for group in groups.largest(10)] == [2, 1, 1]
    check_counts(database)


def test_a_verdict_without_faces_is_not_counted_as_a_group(
    database: Database, groups: SqlUnknownGroups
) -> None:
    groups.set_same([np.array([person(1), person(2)])])
    assert (groups.count(), groups.largest(10), unknown_groups(database, 10)) == (0, [], 0)
    put(groups, 1, [person(1)], 1.0)
    assert (groups.count(), unknown_groups(database, 10)) == (1, 1)


def test_a_verdict_holds_for_faces_that_come_later(
    database: Database, groups: SqlUnknownGroups
) -> None:
    groups.set_same([np.array([person(1), person(2)])])
    assert groups.largest(10) == []
    assert groups.count() == 0
    put(groups, 1, [person(1), person(2)], 1.0)
    assert [group.appearances for group in groups.largest(10)] == [2]
    put(groups, 1, [], 1.0)
    assert groups.largest(10) == []
    put(groups, 2, [person(2), person(1)], 1.0)
    assert [group.appearances for group in groups.largest(10)] == [2]
    check_counts(database)
