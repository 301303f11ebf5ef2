"""The index is filled again from the reports, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import text
from support.index_samples import BUCKET, T0, appearance, indexed, samples
from support.memory import watch_peak
from support.stored_reports import REPORTS, faces_of, store_report

from rollcall.core.errors import StoreUnavailable
from rollcall.core.index_types import IndexedVideo
from rollcall.core.keys import faces_key, report_key
from rollcall.core.reports import report_without
from rollcall.core.types import VideoRef
from rollcall.database.database import Database
from rollcall.database.removal_lock import removing
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.forgotten_people import PersonInDatabase
from rollcall.index.index_counts import index_counts
from rollcall.index.rebuild import BATCH, Rebuild, Rebuilt
from rollcall.index.rematch_rows import set_version
from rollcall.index.sql_index import SqlIndex
from rollcall.queues.sql_queue import SqlQueue
from rollcall.recognition.stored_faces import render_faces
from rollcall.stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    for video in samples():
        store_report(store, video)
    return store


def rebuild(database: Database, store: MemoryStore, after: str = "") -> Rebuilt:
    job = Rebuild(database, store, BUCKET, REPORTS)
    job.list_reports(after)
    job.put_reports()
    job.put_dead_letters()
    job.remove_others()
    return job.result


def contents(database: Database) -> list[tuple[int, IndexedVideo]]:
    index = SqlIndex(database)
    with database.reading() as connection:
        ids = connection.execute(text("SELECT id FROM video ORDER BY key")).scalars().all()
    return [(id_, video) for id_ in ids if (video := index.get(id_))]


def expected() -> list[IndexedVideo]:
    return sorted(samples(), key=lambda video: video.key.encode())


def test_a_lost_index_is_filled_from_the_reports(database: Database, store: MemoryStore) -> None:
    result = rebuild(database, store)
    assert [video for _, video in contents(database)] == expected()
    assert (result.filled.put, result.removed, result.failed) == (6, 0, 0)
    counts = index_counts(database)
    assert (counts.people, counts.appearances, counts.encodings, counts.groups) == (2, 8, 5, 1)
    assert counts.videos == {"recognised": 3, "error": 1, "no_face": 1, "unknown": 1}


def test_many_long_videos_take_little_memory(database: Database) -> None:
    """Thirty lectures with 20,000 faces each would take 900 MB at once."""
    store, count = MemoryStore(), 20_000
    video = indexed("a.mp4", appearance(0, "Ada"), kept="encodings")
    one = faces_of(video)
    columns = ("times_s", "boxes", "qualities", "problems", "followed", "persons", "tracks")
    repeated = {name: np.repeat(getattr(one, name)[:1], count, axis=0) for name in columns}
    rows = np.arange(count, dtype=np.int32)
    encodings = np.repeat(one.encodings[:1], count, axis=0)
    faces = replace(one, **repeated, rows=rows, encodings=encodings, jpegs=(), pictured=rows[:0])
    body = render_faces(faces)
    for number in range(30):
        each = replace(video, key=f"{number}.mp4")
        store_report(store, each)
        store.write(REPORTS, faces_key(each.key), body, "", {})
    peak = watch_peak()
    assert rebuild(database, store).filled.put == 30
    assert SqlFaceSearch(database).count() == 30
    assert peak() < 250 << 20


def test_a_rebuild_of_a_complete_index_changes_nothing(
    database: Database, store: MemoryStore
) -> None:
    rebuild(database, store)
    before, counts = contents(database), index_counts(database)
    rebuild(database, store)
    assert contents(database) == before
    assert index_counts(database) == counts


def test_a_video_that_missed_a_correction_is_compared_again(
    database: Database, store: MemoryStore
) -> None:
    """While a lost index is rebuilt, a correction finds only a part of the videos."""
    with database.transaction() as connection:
        for version in ("gallery-1", "gallery-2"):
            set_version(connection, T0, version)
    store_report(store, indexed("new.mp4", appearance(0, "Ada"), gallery="gallery-2"))
    rebuild(database, store)
    with database.reading() as connection:
        keys = connection.execute(text("SELECT key FROM rematch ORDER BY key")).scalars().all()
    assert keys == ["door/ä+b %41.mp4", "lectures/1.mp4", "lectures/2.mp4"]
    with database.transaction() as connection:
        connection.execute(text("DELETE FROM rematch"))
    rebuild(database, store)
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM rematch")).scalar_one() == 0


def test_videos_without_a_report_are_removed(database: Database, store: MemoryStore) -> None:
    index = SqlIndex(database)
    index.put([indexed("gone.mp4", appearance(0, "Zoe")), indexed("elsewhere.mp4", bucket="other")])
    index.put([indexed("late.mp4")])
    job = Rebuild(database, store, BUCKET, REPORTS)
    job.list_reports()
    store_report(store, indexed("late.mp4"))  # a video that is recognised meanwhile
    job.remove_others()
    assert job.result.removed == 1
    assert index.id_of(BUCKET, "gone.mp4") is None
    assert index.id_of(BUCKET, "late.mp4")
    assert index.id_of("other", "elsewhere.mp4")


def test_dead_letters_stay_although_they_have_no_report(
    database: Database, store: MemoryStore
) -> None:
    queue = SqlQueue(database)
    queue.add([VideoRef(BUCKET, "dead.mp4", etag="e9", event_id="1")])
    (work,) = queue.claim(1, 60)
    queue.bury(work, "no_answer", "nobody answered")
    for _ in range(2):
        assert rebuild(database, store).failed == 1
        id_ = SqlIndex(database).id_of(BUCKET, "dead.mp4")
        found = SqlIndex(database).get(id_ or 0)
        assert found is not None
        assert (found.status, found.error_code, found.etag) == ("error", "no_answer", "e9")
        assert found.work_id == work.work_id


def test_reports_that_cannot_be_read_are_counted(database: Database, store: MemoryStore) -> None:
    store.write(REPORTS, "x.mp4.json", b"{", "", {})
    store.write(REPORTS, "y.mp4.json", store.read(REPORTS, "broken.mp4.json", 9999), "", {})
    store.write(REPORTS, "notes.json", b"{}", "", {})
    store_report(store, indexed("nul\x00.mp4"))  # no database can store this key
    result = rebuild(database, store)
    assert (result.filled.put, result.filled.unreadable) == (6, 2)


def test_an_interrupted_rebuild_goes_on_after_its_last_key(
    database: Database, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(BATCH + 10):
        store_report(store, indexed(f"more/{number:03}.mp4", appearance(0, "Ada")))
    read = store.read

    def fail_late(bucket: str, key: str, max_bytes: int, version_id: str = "") -> bytes:
        if key.startswith("more/1"):
            raise StoreUnavailable("the store is down")
        return read(bucket, key, max_bytes, version_id)

    job = Rebuild(database, store, BUCKET, REPORTS)
    assert job.list_reports() == BATCH + 16
    with monkeypatch.context() as patched:
        patched.setattr(store, "read", fail_late)
        with pytest.raises(StoreUnavailable):
            job.put_reports()
    done = job.result.filled.put
    assert done == BATCH
    index = SqlIndex(database)
    index.put([indexed("a-gone.mp4"), indexed("z-gone.mp4")])
    queue = SqlQueue(database)
    queue.add([VideoRef(BUCKET, "a-dead.mp4", etag="e9", event_id="1")])
    queue.bury(queue.claim(1, 60)[0], "no_answer", "nobody answered")
    result = rebuild(database, store, job.result.last_key)
    assert done + result.filled.put == BATCH + 16
    # The first part of the rebuild did not come to these.
    assert (result.removed, result.failed) == (2, 1)
    assert index.id_of(BUCKET, "a-gone.mp4") is None
    assert index.id_of(BUCKET, "z-gone.mp4") is None
    assert index.id_of(BUCKET, "a-dead.mp4")
    assert len(contents(database)) == BATCH + 17


def test_a_video_that_is_recognised_while_its_report_is_looked_for_stays(
    database: Database, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, head = SqlIndex(database), store.head
    old = indexed("again.mp4", appearance(0, "Ada"))
    new = replace(old, finished_s=old.finished_s + 60)
    index.put([old])

    def head_slowly(*args: str) -> object:
        try:
            return head(*args)
        finally:
            store_report(store, new)
            index.put([new])

    monkeypatch.setattr(store, "head", head_slowly)
    result = rebuild(database, store)
    assert result.removed == 0
    id_ = index.id_of(BUCKET, "again.mp4")
    assert id_
    assert index.get(id_) == new


def test_a_person_who_is_removed_during_a_rebuild_does_not_come_back(
    database: Database, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store.read

    def remove() -> None:
        with removing(database):
            for video in samples():
                body = read(REPORTS, report_key(video.key), 1 << 20)
                rest = report_without(body, "Ada Lovelace")[0]
                store.write(REPORTS, report_key(video.key), rest, "", {})
            list(PersonInDatabase(database, "Ada Lovelace").remove())

    removal = threading.Thread(target=remove)

    def read_slowly(*args: str | int) -> bytes:
        body = read(*args)  # type: ignore[arg-type]
        if args[1] == "lectures/1.mp4.json":
            removal.start()
            removal.join(1.0)
        return body

    monkeypatch.setattr(store, "read", read_slowly)
    rebuild(database, store)
    removal.join()
    names = {each.name for _, video in contents(database) for each in video.people}
    assert names == {"Ben Bitdiddle", ""}
