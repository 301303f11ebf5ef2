"""What the pages about people read, in SQLite and in PostgreSQL."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from support.databases import open_tables
from support.people_index import DAY_S, NOW_S, encoding, put_unknown, put_video

from rollcall.core.index_types import FaceRef
from rollcall.database.database import Database
from rollcall.index.face_queries import FaceQueries
from rollcall.index.people_queries import PeopleFilter, PeopleQueries
from rollcall.index.unknown_groups import SqlUnknownGroups

ALL = PeopleFilter()


@pytest.fixture
def queries(database: Database) -> PeopleQueries:
    return PeopleQueries(database)


def names(rows: list[Any]) -> list[str]:
    return [row.name for row in rows]


def test_names_are_in_the_same_order_as_in_python(
    queries: PeopleQueries, database: Database
) -> None:
    people = ["émile", "Zoë", "ada b", "Ada", "a-b", "Øre", "漢", "_x", "ab"]
    for number, name in enumerate(people):
        put_video(database, f"{number}.mp4", [(name, [(1, 2)])], NOW_S + number)
    rows = queries.by_name(ALL, ("", ""), 20)
    keys = [(row.folded, row.name) for row in rows]
    assert keys == sorted(keys)
    assert set(names(rows)) == set(people)
    middle = keys[4]
    assert queries.by_name(ALL, middle, 20) == rows[5:]
    assert queries.by_name(ALL, ("", ""), 3) == rows[:3]
    assert names(queries.by_last_seen(ALL, None, 20)) == people[::-1]
    assert queries.letters() == {row.folded[0] for row in rows}


def test_people_last_seen_at_one_time_are_all_listed(
    queries: PeopleQueries, database: Database
) -> None:
    put_video(database, "1.mp4", [(name, [(1, 2)]) for name in "abcde"])
    first = queries.by_last_seen(ALL, None, 2)
    rest = queries.by_last_seen(ALL, (first[-1].last_seen_s, first[-1].id or 0), 9)
    assert sorted(names([*first, *rest])) == list("abcde")


def test_wildcards_of_sql_are_plain_characters(queries: PeopleQueries, database: Database) -> None:
    for number, name in enumerate(["100%", "1000", "a_b", "axb", "c\\d"]):
        put_video(database, f"{number}.mp4", [(name, [(1, 2)])])
    for search, found in (("0%", ["100%"]), ("a_", ["a_b"]), ("\\", ["c\\d"])):
        assert names(queries.by_name(PeopleFilter("", search), ("", ""), 9)) == found


def test_the_newest_appearance_with_a_picture_is_chosen(
    queries: PeopleQueries, database: Database
) -> None:
    put_video(database, "1.mp4", [("Ada", [(1, 2)])], NOW_S - 5)
    newest = put_video(database, "2.mp4", [("Ben", [(1, 2)]), ("Ada", [(1, 2)])], NOW_S - 4)
    put_video(database, "3.mp4", [("Ada", [(1, 2)])], NOW_S, kept="encodings")
    put_video(database, "4.mp4", [("Chen", [(1, 2)])], NOW_S, kept="none")
    ids = {row.name: row.id or 0 for row in queries.by_name(ALL, ("", ""), 9)}
    pictures = queries.pictures(list(ids.values()))
    assert pictures == {ids["Ada"]: FaceRef(newest, 1), ids["Ben"]: FaceRef(newest, 0)}


def test_days_begin_at_midnight_in_utc(queries: PeopleQueries, database: Database) -> None:
    midnight = 20_000 * DAY_S
    for number, after_s in enumerate((-0.25, 0.0, 1.0, DAY_S - 0.25)):
        put_video(database, f"{number}.mp4", [("Ada", [(1, 2)])], midnight + after_s)
    (ada,) = queries.by_name(ALL, ("", ""), 9)
    assert ada.id
    assert queries.days(ada.id, 0, 1e12) == {19_999: 1, 20_000: 3}
    assert queries.days(ada.id, midnight, midnight + DAY_S) == {20_000: 3}


def test_appearances_continue_where_the_last_part_ended(
    queries: PeopleQueries, database: Database
) -> None:
    for number in range(7):
        uploaded_s = NOW_S + number // 3
        put_video(database, f"{number}.mp4", [("Ada", [(1.5, 2), (4, 9)])], uploaded_s)
    (ada,) = queries.by_name(ALL, ("", ""), 9)
    found, before = list[Any](), None
    while part := queries.appearances(ada.id or 0, 2, before):
        found += part
        before = (part[-1].uploaded_s, part[-1].face.video_id)
    assert [each.key for each in found] == [f"{number}.mp4" for number in (6, 5, 4, 3, 2, 1, 0)]
    assert found[0].intervals == ((1.5, 2.0), (4.0, 9.0))
    newest = queries.appearances(ada.id or 0, 9, None, NOW_S + 2)
    assert [each.key for each in newest] == ["6.mp4"]


def test_faces_and_groups_are_read_together(database: Database) -> None:
    faces, groups = FaceQueries(database), SqlUnknownGroups(database)
    ids = [put_video(database, f"{n}.mp4", [("Ada", [(1, 2)]), ("", [(3, 4)])]) for n in range(3)]
    for video in ids:
        put_unknown(database, video, {1: encoding(1)})
    (group,) = groups.largest(5)
    found = faces.faces([FaceRef(ids[0], 0), FaceRef(ids[1], 1), FaceRef(99, 0)])
    assert {ref: seen.name for ref, seen in found.items()} == {
        FaceRef(ids[0], 0): "Ada",
        FaceRef(ids[1], 1): "",
    }
    assert faces.videos({group.id: group.appearances}) == {group.id: 3}
    assert faces.videos({group.id: 10_000}) == {group.id: 10_000}
    centre = faces.groups([group.id])[group.id]
    assert abs(centre.centres - encoding(1)).max() < 1e-3


def test_no_query_scans_videos_or_appearances(tmp_path: Path) -> None:
    with closing(open_tables(f"sqlite:///{tmp_path}/index.sqlite3")) as database:
        put_video(database, "1.mp4", [("Ada", [(1, 2)])])
        run: list[tuple[str, Any]] = []

        def note(connection: Any, cursor: Any, statement: str, values: Any, *rest: Any) -> None:
            run.append((statement, values))

        event.listen(database.engine, "before_cursor_execute", note)
        queries, faces = PeopleQueries(database), FaceQueries(database)
        queries.by_name(ALL, ("a", "A"), 9)
        queries.by_last_seen(ALL, (1.0, 1), 9)
        queries.pictures([1, 2])
        queries.days(1, 0, 1e12)
        queries.appearances(1, 9, (NOW_S, 1))
        faces.faces([FaceRef(1, 0), FaceRef(2, 3)])
        faces.videos({1: 3, 2: 4})
        event.remove(database.engine, "before_cursor_execute", note)
        with database.reading() as connection:
            plans = [
                str(row[3])
                for statement, values in run
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            ]
    assert len(run) == 7
    scans = [plan for plan in plans if plan.startswith("SCAN") and "person" not in plan]
    # The only other scans are those of the few rows that a subquery has found.
    assert [plan for plan in scans if not plan.startswith(("SCAN newest", "SCAN seen"))] == []
    # The videos of thousands of faces are counted without reading a row of each.
    assert any("COVERING INDEX appearance_group" in plan for plan in plans)


def test_the_shown_faces_of_a_group_are_among_its_newest(database: Database) -> None:
    """Also if many videos were uploaded in one second, and some were corrected since."""
    looks = {number: encoding(number, 0.7, towards=1) for number in range(12)}
    for number in (*range(12), *range(4)):
        video_id = put_video(database, f"{number:02}.mp4", [("", [(1, 2)])])
        put_unknown(database, video_id, {0: looks[number]})
    (group,) = SqlUnknownGroups(database).largest(9)
    refs = SqlUnknownGroups(database).faces(group.id, 5)
    newest = FaceQueries(database).of_groups([group.id], 5)[group.id]
    assert [each.face for each in newest] == refs
