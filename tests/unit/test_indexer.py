"""The thread that puts results into the index, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from support.index_samples import BUCKET, T0, appearance, indexed, samples
from support.memory import watch_peak
from support.stored_reports import REPORTS, encoding_of, faces_of, report_of, store_report
from support.waiting import wait_until

from rollcall.core.encoding_space import DLIB
from rollcall.core.errors import StoreUnavailable
from rollcall.core.index_documents import answer_document, pointer_document
from rollcall.core.index_types import IndexedVideo
from rollcall.core.keys import faces_key, report_key
from rollcall.core.reports import report_without
from rollcall.core.retry import read_answer
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.database.database import Database
from rollcall.database.removal_lock import removing
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.forgotten_people import PersonInDatabase
from rollcall.index.indexer import BATCH, Indexer
from rollcall.index.rematch_rows import set_version
from rollcall.index.report_reader import ReportReader
from rollcall.index.sql_index import SqlIndex
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.queues.sql_queue import SqlQueue
from rollcall.recognition.stored_faces import render_faces
from rollcall.stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def indexer(database: Database, store: MemoryStore) -> Indexer:
    return Indexer(database, ReportReader(store, REPORTS))


def add(database: Database, *documents: str) -> None:
    insert = text("INSERT INTO unindexed (document, created_s) VALUES (:document, :created_s)")
    with database.transaction() as connection:
        for document in documents:
            connection.execute(insert, {"document": document, "created_s": T0 + 77})


def answers(*videos: IndexedVideo) -> list[str]:
    return [json.dumps(report_of(video)) for video in videos]


def stored(database: Database, key: str) -> IndexedVideo | None:
    index = SqlIndex(database)
    id_ = index.id_of(BUCKET, key)
    return index.get(id_) if id_ else None


def renamed(video: IndexedVideo) -> IndexedVideo:
    """The video after a correction of its first person."""
    people = (replace(video.people[0], name="Chen"), *video.people[1:])
    return replace(video, people=people, corrected=True)


@contextmanager
def refused(
    database: Database, value: str, table: str = "video", column: str = "key"
) -> Iterator[None]:
    """Let the database refuse rows with this value."""
    rule = f"ALTER TABLE {table} ADD CONSTRAINT refused CHECK ({column} <> '{value}')"
    if not database.shared:
        rule = (
            f"CREATE TRIGGER refused BEFORE INSERT ON {table} WHEN NEW.{column} = '{value}'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    with database.transaction() as connection:
        connection.execute(text(rule))
    try:
        yield
    finally:
        if database.shared:  # the next test uses the same tables
            with database.transaction() as connection:
                connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT refused"))


def number(database: Database, query: str) -> int:
    with database.reading() as connection:
        return int(connection.execute(text(query)).scalar_one())


class TestIndexer:
    def test_answers_are_put_into_the_index_and_deleted(
        self, database: Database, indexer: Indexer
    ) -> None:
        videos = samples()
        add(database, *answers(*videos))
        assert indexer.count() == 6
        indexer.index_all()
        assert [stored(database, each.key) for each in videos] == videos
        assert indexer.count() == 0

    def test_an_answer_without_a_time_gets_that_of_its_row(
        self, database: Database, indexer: Indexer
    ) -> None:
        add(database, json.dumps({**report_of(indexed("a.mp4")), "recognised_s": None}))
        indexer.index_all()
        found = stored(database, "a.mp4")
        assert found is not None
        assert (found.finished_s, found.uploaded_s) == (T0 + 77, T0)

    def test_documents_that_are_not_about_a_video_are_left_out(
        self, database: Database, indexer: Indexer, caplog: pytest.LogCaptureFixture
    ) -> None:
        add(database, "", "[]", "{", '{"status": "recognised"}', *answers(samples()[1]))
        indexer.index_all()
        assert indexer.count() == 0
        assert stored(database, "lectures/2.mp4") == samples()[1]
        assert sum("is left out of the index" in line for line in caplog.messages) == 4
        assert "Ada" not in caplog.text

    def test_one_document_that_the_database_refuses_keeps_no_other_out(
        self, database: Database, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The trigger stays in the middle of 30 documents, the 17th of which breaks a limit."""
        videos = [indexed(f"{n}.mp4", appearance(0, f"P{n}")) for n in range(30)]
        with refused(database, "17.mp4"):
            add(database, *answers(*videos))
            indexer.index_all()
        assert indexer.count() == 0
        assert number(database, "SELECT count(*) FROM video") == 29

    def test_a_refused_document_that_another_trigger_has_dropped_costs_no_other(
        self, database: Database, indexer: Indexer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take = Indexer._take_documents

        def take_both(self: Indexer, connection: Connection, **values: Any) -> Any:
            try:
                return take(self, connection, **values)
            except DBAPIError:
                is_dropped.append(True)
                raise

        run = database.run

        def run_after_the_other(change: Any) -> Any:
            if is_dropped:
                is_dropped.clear()
                run(lambda open_: open_.execute(text("DELETE FROM unindexed WHERE id=1")))
            return run(change)

        is_dropped: list[bool] = []
        monkeypatch.setattr(Indexer, "_take_documents", take_both)
        monkeypatch.setattr(database, "run", run_after_the_other)
        with refused(database, "0.mp4"):
            for n in range(3):
                add(database, *answers(indexed(f"{n}.mp4", appearance(0, f"P{n}"))))
            indexer._limit = 1
            indexer.index_all()
        assert indexer.count() == 0
        assert number(database, "SELECT count(*) FROM video") == 2

    def test_the_reason_why_a_document_is_refused_has_no_name(
        self, database: Database, indexer: Indexer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with refused(database, "Ada", table="person", column="name"):
            add(database, *answers(samples()[1], indexed("a.mp4", appearance(0, "Ada"))))
            indexer.index_all()
        assert "is left out" in caplog.text
        assert "refused" in caplog.text
        assert "Ada" not in caplog.text

    def test_more_documents_than_one_batch(self, database: Database, indexer: Indexer) -> None:
        add(database, *answers(*(indexed(f"{n}.mp4") for n in range(2 * BATCH + 1))))
        indexer.index_all()
        assert number(database, "SELECT count(*) FROM video") == 2 * BATCH + 1

    def test_two_triggers_put_each_result_once(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        videos = [indexed(f"{n}.mp4", appearance(0, "Ada")) for n in range(3 * BATCH)]
        other = Indexer(database, ReportReader(store, REPORTS))
        add(database, *answers(*videos))
        for each in (indexer, other):
            each.start()
        for each in (indexer, other):
            each.wake()
        wait_until(lambda: indexer.count() == 0, "an empty table")
        for each in (indexer, other):
            each.stop()
        assert not indexer.alive()
        assert number(database, "SELECT videos FROM person") == 3 * BATCH

    def test_a_thread_wakes_for_new_results_and_stops_at_once(
        self, database: Database, indexer: Indexer
    ) -> None:
        indexer.start()
        add(database, *answers(samples()[1]))
        indexer.wake()
        wait_until(lambda: stored(database, "lectures/2.mp4"), "the video in the index")
        indexer.stop()

    def test_a_closed_database_is_logged_and_tried_again(
        self, database: Database, indexer: Indexer, caplog: pytest.LogCaptureFixture
    ) -> None:
        database.close()
        with caplog.at_level(logging.ERROR):
            indexer.start()
            wait_until(lambda: caplog.messages, "a log line")
        assert "trying again later" in caplog.text
        assert indexer.alive()
        indexer.stop()


class TestStoredFaces:
    def test_the_report_and_its_faces_are_read(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        video = samples()[0]
        store_report(store, video)
        add(database, pointer_document(BUCKET, video.key))
        indexer.index_all()
        assert stored(database, video.key) == video
        assert indexer.count() == 0
        (found,) = SqlFaceSearch(database).find(
            encoding_of("Ada Lovelace", 0)[None], DLIB.name, 0.1, 10
        )
        assert found.face.number == 0
        assert SqlFaceSearch(database).count() == 3
        (group,) = SqlUnknownGroups(database).largest(10)
        assert [face.number for face in group.faces] == [2]

    def test_a_result_without_faces_removes_those_of_the_earlier_one(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        video = samples()[0]
        store_report(store, video)
        add(database, pointer_document(BUCKET, video.key))
        indexer.index_all()
        later = replace(video, finished_s=video.finished_s + 9, kept="none")
        add(database, *answers(later))
        indexer.index_all()
        assert stored(database, video.key) == later
        assert SqlFaceSearch(database).count() == 0
        assert SqlUnknownGroups(database).count() == 0

    def test_faces_that_an_interrupted_indexer_has_left_in_groups_are_removed(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        video = samples()[0]
        store_report(store, video)
        add(database, pointer_document(BUCKET, video.key))
        indexer.index_all()
        index = SqlIndex(database)
        later = replace(video, finished_s=video.finished_s + 9, kept="none")
        with database.transaction() as connection:
            index.put_in(connection, [later])
        # Here the process ends. The next result, or a rebuild, finds what it left.
        assert SqlUnknownGroups(database).count() == 1
        add(database, *answers(later))
        indexer.index_all()
        assert SqlUnknownGroups(database).count() == 0

    def test_a_result_of_a_corrected_gallery_is_compared_again(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        used = replace(samples()[0], gallery="gallery-1")
        newest = replace(samples()[2], gallery="gallery-2")
        with database.transaction() as connection:
            set_version(connection, T0, "gallery-1")
        for video in (used, newest):
            store_report(store, video)
            add(database, pointer_document(BUCKET, video.key))
        indexer.index_all()
        assert number(database, "SELECT count(*) FROM rematch") == 0
        with database.transaction() as connection:
            set_version(connection, T0, "gallery-2")
        add(database, *(pointer_document(BUCKET, video.key) for video in (used, newest)))
        indexer.index_all()
        with database.reading() as connection:
            (key,) = connection.execute(text("SELECT key FROM rematch")).scalars()
        assert key == used.key

    def test_many_long_videos_take_little_memory(self, store: MemoryStore) -> None:
        """Thirty lectures with 20,000 faces each would take 500 MB at once."""
        video = indexed("a.mp4", appearance(0, ""), kept="pictures")
        one = faces_of(video)
        columns = ("times_s", "boxes", "qualities", "problems", "followed", "persons", "tracks")
        repeated = {name: np.repeat(getattr(one, name), 20_000, axis=0) for name in columns}
        rows = np.arange(20_000, dtype=np.int32)
        encodings = np.repeat(one.encodings, 20_000, axis=0)
        faces = render_faces(replace(one, **repeated, rows=rows, encodings=encodings))
        box = {"top": 1, "right": 2, "bottom": 3, "left": 4}
        report = json.dumps({**report_of(video), "faces": 20_000 * [{"box_px": box, "person": 0}]})
        store.write(REPORTS, "a.mp4.json", report.encode(), "", {})
        store.write(REPORTS, "a.mp4.faces.npz", faces, "", {})
        reader = ReportReader(store, REPORTS)
        reader.read(BUCKET, "a.mp4")
        peak = watch_peak()
        read = [reader.read(BUCKET, "a.mp4") for _ in range(30)]
        assert [each.faces.encodings.shape for each in read if each.faces] == 30 * [(1, DLIB.size)]
        assert peak() < 60 << 20

    def test_faces_of_another_upload_are_left_out(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        video = samples()[0]
        store_report(store, video)
        for body in (render_faces(replace(faces_of(video), etag="other")), b"damaged"):
            store.write(REPORTS, faces_key(video.key), body, "", {})
            add(database, pointer_document(BUCKET, video.key))
            indexer.index_all()
            assert stored(database, video.key) == video
            assert SqlFaceSearch(database).count() == 0

    def test_a_model_that_makes_encodings_of_another_size_keeps_no_video_out(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        """Both models give the encoding space the same name."""
        small, large = samples()[0], replace(samples()[3], kept="encodings")
        for video in (small, large):
            store_report(store, video)
            add(database, pointer_document(BUCKET, video.key))
        faces = faces_of(small)
        space = replace(DLIB, size=64)
        cut = replace(faces, space=space, encodings=faces.encodings[:, : space.size])
        store.write(REPORTS, faces_key(small.key), render_faces(cut), "", {})
        indexer.index_all()
        assert indexer.count() == 0
        assert [stored(database, each.key) for each in (small, large)] == [small, large]
        assert SqlFaceSearch(database).count() == 5
        assert SqlUnknownGroups(database).count() == 3

    def test_a_missing_report_is_left_out_with_a_log_line(
        self,
        database: Database,
        store: MemoryStore,
        indexer: Indexer,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        store_report(store, samples()[1])
        store.write(REPORTS, "b.mp4.json", b"[]", "", {})
        add(database, *(pointer_document(BUCKET, key) for key in ("a.mp4", "b.mp4")))
        add(database, pointer_document(BUCKET, samples()[1].key))
        indexer.index_all()
        assert indexer.count() == 0
        assert "2 videos have no report that can be read" in caplog.text
        assert "'b.mp4'" in caplog.text
        assert stored(database, samples()[1].key) == samples()[1]

    def test_reports_that_are_all_missing_keep_no_later_one_out(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        add(database, pointer_document(BUCKET, "a.mp4"))
        indexer.index_all()
        assert indexer.count() == 0
        store_report(store, samples()[0])
        add(database, pointer_document(BUCKET, samples()[0].key))
        indexer.index_all()
        assert stored(database, samples()[0].key) == samples()[0]

    def test_a_key_that_no_database_can_store_keeps_no_other_out(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        store_report(store, samples()[0])
        for key in ("nul\x00.mp4", "half\ud800.mp4", samples()[0].key):
            indexer.add_report(BUCKET, key)
        indexer.index_all()
        assert indexer.count() == 0
        assert stored(database, samples()[0].key) == samples()[0]

    def test_a_video_whose_report_was_not_written_is_put_from_the_answer(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        lost, again, good = samples()[:3]
        again = replace(again, kept="encodings")
        store_report(store, replace(again, etag="earlier", finished_s=again.finished_s - 60))
        store_report(store, good)
        for each in (lost, again, good):
            pointer, (answer,) = pointer_document(BUCKET, each.key), answers(each)
            add(database, f'{pointer[:-1]}, "answer": {answer}}}')
        before = SqlFaceSearch(database).count()
        indexer.index_all()
        assert [stored(database, each.key) for each in (lost, again, good)] == [lost, again, good]
        assert indexer.count() == 0
        # The video with a report is not put again without its faces.
        assert SqlFaceSearch(database).count() > before

    def test_without_a_report_bucket_nothing_waits_for_reports(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        indexer = Indexer(database, None)
        add(database, pointer_document(BUCKET, "a.mp4"))
        indexer.index_all()
        assert indexer.count() == 0
        assert "REPORT_BUCKET is empty" in caplog.text

    def test_a_store_that_is_down_delays_only_the_videos_with_faces(
        self, database: Database, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def down(*_: object) -> bytes:
            raise StoreUnavailable("the store is down")

        indexer = Indexer(database, ReportReader(store, REPORTS))
        store_report(store, samples()[0])
        add(database, pointer_document(BUCKET, samples()[0].key), *answers(samples()[1]))
        with monkeypatch.context() as patched:
            patched.setattr(store, "read", down)
            with pytest.raises(StoreUnavailable):
                indexer.index_all()
        assert stored(database, samples()[1].key) == samples()[1]
        assert indexer.count() == 1
        indexer.index_all()
        assert stored(database, samples()[0].key) == samples()[0]

    def test_a_store_that_stays_down_delays_no_result_without_faces(
        self, database: Database, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def down(*_: object) -> bytes:
            is_down.set()
            raise StoreUnavailable("the store is down")

        is_down = threading.Event()
        monkeypatch.setattr(store, "read", down)
        monkeypatch.setattr("rollcall.index.indexer.ERROR_PAUSE_S", 3600.0)
        indexer = Indexer(database, ReportReader(store, REPORTS))
        indexer.start()
        indexer.add_report(BUCKET, samples()[0].key)
        assert is_down.wait(60)
        add(database, *answers(samples()[1]))
        indexer.wake()
        wait_until(lambda: stored(database, samples()[1].key), "the video in the index")
        assert indexer.count() == 1
        indexer.stop()

    def test_a_correction_while_the_report_is_read_is_not_undone(
        self, database: Database, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The rematcher writes report, faces and index between the reading and the writing."""
        video = samples()[0]
        corrected = renamed(video)
        index, read = SqlIndex(database), store.read
        store_report(store, video)
        index.put([video])

        def read_slowly(*args: str | int) -> bytes:
            body = read(*args)  # type: ignore[arg-type]
            if str(args[1]).endswith(".json") and stored(database, video.key) == video:
                store_report(store, corrected)
                index.put([corrected])
            return body

        monkeypatch.setattr(store, "read", read_slowly)
        add(database, pointer_document(BUCKET, video.key))
        Indexer(database, ReportReader(store, REPORTS)).index_all()
        assert stored(database, video.key) == corrected
        found = SqlFaceSearch(database).find(encoding_of("Chen", 0)[None], DLIB.name, 0.1, 10)
        assert [each.face.number for each in found] == [0]

    def test_a_correction_that_is_committed_while_the_indexer_waits_is_not_undone(
        self, database: Database, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The transaction of the correction is open when the indexer compares the versions."""
        video = samples()[0]
        corrected = renamed(video)
        index, read = SqlIndex(database), store.read
        store_report(store, video)
        index.put([video])
        is_written = threading.Event()

        def correct() -> None:
            with database.transaction() as connection:
                index.put_in(connection, [corrected])
                is_written.set()
                time.sleep(1.0)  # meanwhile, the indexer waits for the row of the video

        correction = threading.Thread(target=correct)

        def read_before(*args: str | int) -> bytes:
            body = read(*args)  # type: ignore[arg-type]
            if str(args[1]).endswith(".npz") and not is_written.is_set():
                store_report(store, corrected)
                correction.start()
                is_written.wait()
            return body

        monkeypatch.setattr(store, "read", read_before)
        add(database, pointer_document(BUCKET, video.key))
        Indexer(database, ReportReader(store, REPORTS)).index_all()
        correction.join()
        assert stored(database, video.key) == corrected

    @pytest.mark.parametrize("has_report", [True, False])
    def test_a_person_who_is_removed_meanwhile_does_not_come_back(
        self,
        database: Database,
        store: MemoryStore,
        monkeypatch: pytest.MonkeyPatch,
        has_report: bool,
    ) -> None:
        video = samples()[0]
        read = store.read
        if has_report:
            store_report(store, video)

        def remove() -> None:
            name = video.people[0].name
            with removing(database) as check:
                if has_report:
                    body = store.read(REPORTS, report_key(video.key), 1 << 20)
                    rest = report_without(body, name)[0]
                    store.write(REPORTS, report_key(video.key), rest, "", {})
                list(PersonInDatabase(database, name).remove())
                check()

        removal = threading.Thread(target=remove)

        def read_slowly(*args: str | int) -> bytes:
            try:
                return read(*args)  # type: ignore[arg-type]
            finally:
                if threading.current_thread() is not removal and not removal.ident:
                    removal.start()
                    removal.join(1.0)

        monkeypatch.setattr(store, "read", read_slowly)
        pointer, (answer,) = pointer_document(BUCKET, video.key), answers(video)
        add(database, f'{pointer[:-1]}, "answer": {answer}}}')
        Indexer(database, ReportReader(store, REPORTS)).index_all()
        removal.join()
        found = stored(database, video.key)
        assert found is not None
        assert [each.name for each in found.people] == ["Ben Bitdiddle", ""]

    def test_reports_are_read_after_a_removal(
        self, database: Database, store: MemoryStore, indexer: Indexer
    ) -> None:
        store_report(store, samples()[0])
        add(database, pointer_document(BUCKET, samples()[0].key), *answers(samples()[1]))
        with removing(database):
            indexer.index_all()
            assert indexer.count() == 1
        indexer.index_all()
        assert indexer.count() == 0


def test_a_result_of_the_work_queue_reaches_the_index(database: Database, indexer: Indexer) -> None:
    video = samples()[1]
    queue = SqlQueue(database)
    queue.add([VideoRef(BUCKET, key, etag="e1", event_id=key) for key in (video.key, "dead.mp4")])
    answer = read_answer(200, json.dumps(report_of(video)).encode())
    for work in queue.claim(2, 60):
        if work.key == video.key:
            queue.finish(
                work, answer.code, document=answer_document(work, answer, has_reports=True)
            )
        else:
            queue.bury(work, "not_a_video", "it cannot be decoded")
    indexer.index_all()
    assert stored(database, video.key) == video
    dead = stored(database, "dead.mp4")
    assert dead is not None
    assert (dead.status, dead.error_code, dead.etag) == ("error", "not_a_video", "e1")
    assert dead.finished_s > 0


def test_a_dead_letter_whose_result_is_found_later_shows_that_result(
    database: Database, store: MemoryStore, indexer: Indexer
) -> None:
    """The function has written its result before the last attempt is given up."""
    video = samples()[0]
    queue = SqlQueue(database)
    queue.add([VideoRef(BUCKET, video.key, etag=video.etag, event_id="1")])
    (work,) = queue.claim(1, 60)
    queue.bury(work, "no_answer", "nobody answered")
    indexer.index_all()
    failed = stored(database, video.key)
    assert failed is not None
    assert failed.status == "error"
    video = replace(video, finished_s=failed.finished_s - 60)
    store_report(store, video)
    assert queue.result_found(ObjectInfo(BUCKET, video.key, 1, video.etag)) == 1
    indexer.index_all()
    assert stored(database, video.key) == video


def test_an_answer_without_a_report_replaces_the_error_of_its_upload(
    database: Database, indexer: Indexer
) -> None:
    """The clock of the function is behind that of the database."""
    failed = indexed("a.mp4", status="error", finished_s=T0 + 90)
    for video in (
        indexed("a.mp4", appearance(0, "Ada"), finished_s=T0 + 60, etag="earlier"),
        indexed("a.mp4", appearance(0, "Ada"), finished_s=T0 + 60),
    ):
        SqlIndex(database).put([failed])
        pointer, (answer,) = pointer_document(BUCKET, "a.mp4"), answers(video)
        add(database, f'{pointer[:-1]}, "answer": {answer}}}')
        indexer.index_all()
        assert stored(database, "a.mp4") == (failed if video.etag == "earlier" else video)
