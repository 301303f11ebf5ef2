"""The index in SQLite and in PostgreSQL."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest
from sqlalchemy import insert, select, text
from support.index_samples import BUCKET, DAY_S, T0, appearance, indexed, samples

from benchmarks.big_index import BigIndex, fill
from rollcall.core.errors import InboxUnavailable
from rollcall.core.index_types import IndexedVideo
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance as appearances
from rollcall.database.index_tables import face_block, person, video
from rollcall.index.sql_index import MAX_PUT, SqlIndex, folded


@pytest.fixture
def index(database: Database) -> SqlIndex:
    return SqlIndex(database)


def id_of(index: SqlIndex, key: str) -> int:
    found = index.id_of(BUCKET, key)
    assert found is not None
    return found


def stored(index: SqlIndex, key: str) -> IndexedVideo:
    found = index.get(id_of(index, key))
    assert found is not None
    return found


def people(database: Database) -> dict[str, tuple[int, float, float]]:
    """The rows of people: the number of appearances, and the first and last upload in days."""
    with database.reading() as connection:
        return {
            row.name: (row.videos, (row.first_seen_s - T0) / DAY_S, (row.last_seen_s - T0) / DAY_S)
            for row in connection.execute(select(person))
        }


def true_people(database: Database) -> dict[str, tuple[int, float, float]]:
    """What `people` has to be, counted from the appearances."""
    query = (
        "SELECT p.name, count(*), min(a.uploaded_s), max(a.uploaded_s) FROM appearance a"
        " JOIN person p ON p.id = a.person_id GROUP BY p.name"
    )
    with database.reading() as connection:
        return {
            name: (count, (first_s - T0) / DAY_S, (last_s - T0) / DAY_S)
            for name, count, first_s, last_s in connection.execute(text(query))
        }


def count(database: Database, table: str) -> int:
    with database.reading() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_video_is_stored_with_all_its_fields(index: SqlIndex) -> None:
    videos = samples()
    index.put(videos)
    assert [stored(index, each.key) for each in videos] == videos


def test_people_are_counted_with_the_times_of_the_uploads(
    index: SqlIndex, database: Database
) -> None:
    index.put(samples())
    assert people(database) == {"Ada Lovelace": (3, 0, 2), "Ben Bitdiddle": (2, 0, 2)}
    assert people(database) == true_people(database)


def test_a_new_result_replaces_the_row_and_keeps_the_ids(
    index: SqlIndex, database: Database
) -> None:
    index.put(samples())
    id_ = id_of(index, "lectures/1.mp4")
    new = indexed("lectures/1.mp4", appearance(0, "Ben Bitdiddle"), uploaded_s=T0 + 9 * DAY_S)
    index.put([new])
    assert index.id_of(BUCKET, "lectures/1.mp4") == id_
    assert index.get(id_) == new
    assert people(database) == {"Ada Lovelace": (2, 1, 2), "Ben Bitdiddle": (2, 2, 9)}


def test_a_row_about_a_later_recognition_stays(index: SqlIndex, database: Database) -> None:
    new = indexed("a.mp4", appearance(0, "Ada"), finished_s=T0 + 20)
    index.put([new])
    index.put([indexed("a.mp4", appearance(0, "Ben"), finished_s=T0 + 10)])
    assert stored(index, "a.mp4") == new
    assert set(people(database)) == {"Ada"}
    same_time = indexed("a.mp4", appearance(0, "Ben"), finished_s=T0 + 20, corrected=True)
    index.put([same_time])
    assert stored(index, "a.mp4") == same_time


def test_the_newest_of_several_results_in_one_batch_counts(
    index: SqlIndex, database: Database
) -> None:
    results = [
        indexed("a.mp4", appearance(0, name), finished_s=T0 + at_s)
        for name, at_s in (("Ada", 1.0), ("Ben", 3.0), ("Chen", 2.0))
    ]
    index.put(results)
    assert stored(index, "a.mp4") == results[1]
    assert people(database) == {"Ben": (1, 0, 0)}


def test_a_result_replaces_a_later_error_of_the_same_upload(
    index: SqlIndex, database: Database
) -> None:
    """Only the answers were lost, until the work was given up."""
    result = indexed("a.mp4", appearance(0, "Ada"), finished_s=T0 + 10)
    given_up = indexed("a.mp4", status="error", finished_s=T0 + 20)
    index.put([given_up])
    index.put([result])
    assert stored(index, "a.mp4") == result
    index.put([given_up, result])
    assert stored(index, "a.mp4") == result
    index.put([given_up])
    index.put([replace(result, etag="earlier upload")])
    index.put([replace(given_up, finished_s=T0 + 5)])
    assert stored(index, "a.mp4") == given_up
    assert people(database) == {}


def test_a_person_without_appearances_is_deleted(index: SqlIndex, database: Database) -> None:
    index.put([indexed("a.mp4", appearance(0, "Ada")), indexed("b.mp4", appearance(0, "Ben"))])
    index.put([indexed("a.mp4", finished_s=T0 + 10)])
    assert set(people(database)) == {"Ben"}
    index.remove(BUCKET, "b.mp4")
    assert people(database) == {}
    assert index.id_of(BUCKET, "b.mp4") is None
    assert index.get(1) is not None
    assert index.get(99) is None
    assert count(database, "appearance") == 0


def test_removing_a_video_that_is_not_there_changes_nothing(
    index: SqlIndex, database: Database
) -> None:
    index.put(samples())
    index.remove(BUCKET, "lectures/1.mp4")
    index.remove(BUCKET, "lectures/1.mp4")
    index.remove("other", "lectures/2.mp4")
    assert count(database, "video") == 5
    assert people(database) == {"Ada Lovelace": (2, 1, 2), "Ben Bitdiddle": (1, 2, 2)}


def test_stored_encodings_of_an_old_result_are_deleted(index: SqlIndex, database: Database) -> None:
    index.put(samples())
    rows = [
        {"video_id": id_of(index, key), "space": "s", "numbers": b"\0\0", "encodings": b"\0\0"}
        for key in ("lectures/1.mp4", "lectures/2.mp4", "door/4.mp4")
    ]
    with database.transaction() as connection:
        connection.execute(insert(face_block), rows)
    index.put([samples()[0]])
    index.remove(BUCKET, "lectures/2.mp4")
    with database.reading() as connection:
        left = connection.execute(select(face_block.c.video_id)).scalars().all()
    assert left == [rows[2]["video_id"]]


def test_texts_that_postgresql_cannot_store_are_replaced(index: SqlIndex) -> None:
    index.put([indexed("a\x00.mp4", appearance(0, "A\ud800da"), etag="\x00")])
    found = stored(index, "a\ufffd.mp4")
    assert (found.people[0].name, found.etag) == ("A?da", "\ufffd")


def test_more_videos_than_fit_into_one_transaction(index: SqlIndex, database: Database) -> None:
    index.put([])
    index.put([indexed(f"{n}.mp4", appearance(0, f"P{n % 7}")) for n in range(MAX_PUT + 20)])
    assert count(database, "video") == MAX_PUT + 20
    assert people(database) == true_people(database)


def test_several_writers_count_every_appearance(database: Database) -> None:
    """Each writer puts, replaces and removes the same videos, in an order of its own."""
    errors: list[BaseException] = []

    def write(seed: int) -> None:
        choose = random.Random(seed)
        index = SqlIndex(database)
        try:
            for step in range(25):
                names = choose.sample(["Ada", "Ben", "Chen", "Dora", ""], 3)
                keys = choose.sample(range(12), 5)
                index.put(
                    [
                        indexed(
                            f"{key}.mp4",
                            *(appearance(n, name) for n, name in enumerate(names)),
                            uploaded_s=T0 + choose.randrange(9) * DAY_S,
                            finished_s=T0 + step + choose.random(),
                        )
                        for key in keys
                    ]
                )
                index.remove(BUCKET, f"{choose.randrange(12)}.mp4")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert people(database) == true_people(database)
    with database.reading() as connection:
        rows = connection.execute(select(video.c.id, video.c.named, video.c.unknown)).all()
        for id_, named, unknown in rows:
            found = connection.execute(
                select(appearances.c.person_id).where(appearances.c.video_id == id_)
            ).scalars()
            assert sorted(each is None for each in found) == [False] * named + [True] * unknown


def test_a_closed_database_is_an_error_that_names_it(index: SqlIndex, database: Database) -> None:
    database.close()
    with pytest.raises(InboxUnavailable, match="is closed"):
        index.put(samples())


def test_names_are_folded_for_searches() -> None:
    assert folded("Zoë MÜLLER-Strauß") == "zoe muller-strauss"


def test_the_generator_of_a_large_index_writes_what_the_index_would(
    index: SqlIndex, database: Database
) -> None:
    fill(database, BigIndex(videos=60, people=9, appearances=300), faces=True)
    assert count(database, "video") == 60
    assert people(database) == true_people(database)
    with database.reading() as connection:
        ids = connection.execute(select(video.c.id)).scalars().all()
        faces = connection.execute(select(face_block)).all()
    found = [each for each in map(index.get, ids) if each is not None]
    assert sum(len(each.people) for each in found) == 300
    index.put([replace(each, finished_s=each.finished_s + 1) for each in found])
    assert [index.get(id_) for id_ in ids] == [
        replace(each, finished_s=each.finished_s + 1) for each in found
    ]
    assert people(database) == true_people(database)
    assert sum(len(each.encodings) for each in faces) == 300 * 128 * 2
