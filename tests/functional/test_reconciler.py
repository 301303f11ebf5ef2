"""The reconciler queues each video without a result once, whatever happens during its scan."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.databases import open_file
from support.listings import memory_listings
from support.waiting import wait_until
from support.work_queues import LEASE_S, claimed, states

from rollcall.core.errors import ObjectNotFound, StoreMisconfigured, StoreUnavailable
from rollcall.core.keys import result_key
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.database.database import Database
from rollcall.database.index_tables import skipped_upload
from rollcall.queues import sql_listings
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.queues.sql_listings import SqlListings
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.memory import MemoryStore
from rollcall.trigger import reconciler
from rollcall.trigger.reconciler import REQUESTS_AT_ONCE, Reconciler

IN, OUT = "input", "output"


class ScriptedStore(MemoryStore):
    """Counts requests, and calls `before(request, key)` before each one."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda request, key: None

    def head(self, bucket: str, key: str) -> ObjectInfo:
        self._request("head", key)
        return super().head(bucket, key)

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        self._request("metadata", key)
        return super().metadata(bucket, key)

    def list_objects(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        self._request("list", bucket)
        for info in super().list_objects(bucket, prefix):
            self._request("listed", info.key)
            yield info

    def upload(self, *names: str, body: bytes = b"video") -> None:
        for name in names:
            self.write(IN, f"{name}.mp4", body, "video/mp4", {})

    def recognise(self, *names: str, **metadata: str) -> None:
        """Write the result that the function writes for the video."""
        for name in names:
            etag = MemoryStore.head(self, IN, f"{name}.mp4").etag
            self.write(OUT, f"{name}.csv", b"name\n", "text/csv", {"source-etag": etag, **metadata})

    def count(self, *kinds: str) -> int:
        return sum(kind in kinds for kind, _ in self.requests)

    def _request(self, kind: str, key: str) -> None:
        self.requests.append((kind, key))
        self.before(kind, key)


class Scans:
    """A reconciler with its queue and its store."""

    def __init__(self, listings: SqlListings | None = None) -> None:
        self.queue: WorkQueue = MemoryQueue()
        self.store = ScriptedStore()
        self.listings = listings or memory_listings()
        self.found = 0
        self.skipped: list[int] = []
        self.succeeded: list[float] = []
        self.reconciler = self.another()

    def another(self, **options: Any) -> Reconciler:
        """Another reconciler on the same database, as in a process that was started again."""
        callbacks = self._on_missing, self.skipped.append, self.succeeded.append
        parts = self.queue, self.listings, self.store
        return Reconciler(*parts, IN, OUT, *callbacks, **options)

    def scan(self) -> list[tuple[str, str]]:
        """Scan once, and return the requests for single objects."""
        self.store.requests.clear()
        self.reconciler.reconcile()
        return [each for each in self.store.requests if each[0] in ("head", "metadata")]

    def event(self, name: str) -> None:
        info = MemoryStore.head(self.store, IN, f"{name}.mp4")
        at = str(info.modified_s)
        self.queue.add([VideoRef(IN, info.key, etag=info.etag, event_id=name, event_time=at)])

    def call(self) -> None:
        """Do the next work as the dispatcher and the function do."""
        work = claimed(self.queue)
        self.store.recognise(work.key.removesuffix(".mp4"))
        self.queue.finish(work, "recognised")

    def queued(self) -> list[str]:
        return sorted(work.key for work in self.queue.latest(10_000, "queued"))

    def _on_missing(self) -> None:
        self.found += 1


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> Scans:
    """Scans whose pages have three objects."""
    monkeypatch.setattr(sql_listings, "PAGE", 3)
    monkeypatch.setattr(sql_listings, "_LIMIT", 3)
    monkeypatch.setattr(reconciler, "DEAD_PAGE", 2)
    return Scans()


def once(wanted: str, action: Callable[[], object]) -> Callable[[str, str], None]:
    """A `before` that does something at the first request of this kind, written `kind` or
    `kind key`."""
    left = [action]

    def before(kind: str, key: str) -> None:
        if wanted in (kind, f"{kind} {key}") and left:
            left.pop()()

    return before


def test_videos_without_a_result_are_queued(scans: Scans) -> None:
    scans.store.upload(*"abcdefghij")
    scans.store.recognise(*"acegi")
    scans.scan()
    assert scans.queued() == [f"{name}.mp4" for name in "bdfhj"]
    assert scans.found == 5
    assert len(scans.succeeded) == 1


def test_a_second_scan_sends_no_request_for_an_object(scans: Scans) -> None:
    scans.store.upload(*"abcdefghij")
    scans.store.recognise(*"abcdefghij")
    assert sorted(scans.scan()) == [("metadata", f"{name}.csv") for name in "abcdefghij"]
    assert scans.scan() == []
    scans.reconciler = scans.another()
    assert scans.scan() == [], "a new process remembers the results too"
    assert states(scans.queue) == {}


def test_only_results_that_are_new_or_changed_are_read(scans: Scans) -> None:
    scans.store.upload(*"abc")
    scans.store.recognise(*"abc")
    scans.scan()
    scans.store.upload("c", body=b"another")
    scans.store.upload("d")
    scans.store.recognise("b", "c", "d", engine="new")
    assert sorted(scans.scan()) == [("metadata", f"{name}.csv") for name in "bcd"]


def test_results_without_a_video_are_not_read(scans: Scans) -> None:
    scans.store.upload("a")
    scans.store.recognise("a")
    scans.store.write(OUT, "other.csv", b"", "text/csv", {})
    assert scans.scan() == [("metadata", "a.csv")]


def test_a_video_that_waits_or_runs_costs_no_request(scans: Scans) -> None:
    scans.store.upload(*"abcd")
    scans.store.recognise("c")
    for name in "abc":
        scans.event(name)
    claimed(scans.queue)
    assert scans.scan() == [("head", "d.mp4")]
    assert states(scans.queue) == {"running": 1, "queued": 3}


def test_a_new_upload_whose_event_was_lost_is_queued(scans: Scans) -> None:
    scans.store.upload("a")
    scans.store.recognise("a")
    scans.scan()
    scans.store.upload("a", body=b"second")
    assert scans.scan() == [("metadata", "a.csv"), ("head", "a.mp4")]
    assert scans.queued() == ["a.mp4"]


def test_two_uploads_may_have_equal_results_within_a_second(scans: Scans) -> None:
    """The etag and the time of the result do not change, but its metadata does."""
    scans.store.upload("a")
    scans.store.recognise("a")
    first = scans.store._objects[OUT, "a.csv"][0]
    scans.scan()
    scans.store.upload("a", body=b"second")
    scans.store.recognise("a")
    scans.store._objects[OUT, "a.csv"] = (first, *scans.store._objects[OUT, "a.csv"][1:])
    assert scans.scan() == [("metadata", "a.csv")]
    assert scans.scan() == []
    assert states(scans.queue) == {}


MOMENTS = [
    f"list {IN}",
    "listed a.mp4",
    "listed d.mp4",
    f"list {OUT}",
    "listed b.csv",
    "head a.mp4",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_video_that_is_finished_during_the_scan_is_not_queued_again(
    scans: Scans, moment: str
) -> None:
    """Whichever part of the scan comes after the end of its work."""
    scans.store.upload(*"abcd")
    scans.store.recognise("b")
    if moment == "head a.mp4":  # its work begins and ends after the reconciler has read the queue
        scans.store.before = once(moment, lambda: (scans.event("a"), scans.call()))
    else:
        scans.event("a")
        scans.store.before = once(moment, scans.call)
    scans.scan()
    assert scans.queued() == ["c.mp4", "d.mp4"]
    assert states(scans.queue) == {"queued": 2, "done": 1}
    scans.scan()
    assert states(scans.queue) == {"queued": 2, "done": 1}


def test_work_that_ended_without_a_result_is_queued_by_the_next_scan(scans: Scans) -> None:
    scans.store.upload("a")
    scans.event("a")

    def end() -> None:
        scans.queue.finish(claimed(scans.queue), "recognised")

    scans.store.before = once("list output", end)
    scans.scan()
    assert states(scans.queue) == {"done": 1}
    scans.scan()
    assert states(scans.queue) == {"done": 1, "queued": 1}


def test_a_video_that_was_replaced_or_deleted_since_is_not_queued(scans: Scans) -> None:
    def change() -> None:
        scans.store.upload("a", body=b"another")
        scans.store.delete(IN, "b.mp4")

    scans.store.upload(*"abc")
    scans.store.before = once(f"list {OUT}", change)
    scans.scan()
    assert scans.queued() == ["c.mp4"]


def test_a_result_that_was_deleted_since_is_missing(scans: Scans) -> None:
    scans.store.upload("a", "b")
    scans.store.recognise("a", "b")
    scans.store.before = once("metadata a.csv", lambda: scans.store.delete(OUT, "a.csv"))
    scans.scan()
    assert scans.queued() == ["a.mp4"]


def test_several_requests_run_at_once_but_not_many(monkeypatch: pytest.MonkeyPatch) -> None:
    scans, lock = Scans(), threading.Lock()
    together, most, all_there = [0], [0], threading.Event()
    scans.store.upload(*(f"{number}" for number in range(40)))

    def before(kind: str, key: str) -> None:
        if kind != "head":
            return
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
            if together[0] == REQUESTS_AT_ONCE:
                all_there.set()
        assert all_there.wait(60)
        with lock:
            together[0] -= 1

    scans.store.before = before
    scans.scan()
    assert most[0] == REQUESTS_AT_ONCE
    assert len(scans.queued()) == 40


HALTS = {
    "the first listing begins": f"list {IN}",
    "videos are listed": "listed f.mp4",
    "the second listing begins": f"list {OUT}",
    "results are listed": "listed d.csv",
    "sources are read": "metadata d.csv",
    "videos are checked": "head f.mp4",
}


@pytest.mark.parametrize("moment", HALTS.values(), ids=HALTS)
def test_a_halt_ends_a_scan_in_each_phase(scans: Scans, moment: str) -> None:
    """No listing goes on, and no request begins. The next process scans from the start."""
    scans.store.upload(*"abcdefghijkl")
    scans.store.recognise(*"abcde")
    scans.store.before = once(moment, scans.reconciler.halt)
    kind, _, key = moment.partition(" ")
    scans.scan()
    after = scans.store.requests[scans.store.requests.index((kind, key)) + 1 :]
    assert len(after) < REQUESTS_AT_ONCE + (kind == "list")
    assert scans.succeeded == []
    scans.reconciler = scans.another()
    scans.scan()
    assert scans.queued() == [f"{name}.mp4" for name in "fghijkl"]
    assert len(scans.succeeded) == 1


def test_a_halt_ends_the_deletion_of_many_rows_and_the_dead_letters(scans: Scans) -> None:
    """These phases send no requests, so the halt comes from the listings and the queue."""
    names = "abcdefghijkl"
    scans.store.upload(*names)
    scans.scan()
    for _ in names:
        scans.queue.bury(claimed(scans.queue), "no_answer", "")
    scans.store.recognise(*names)
    asked = [0]
    found = scans.queue.result_found

    def halt_at_second(info: ObjectInfo) -> int:
        asked[0] += 1
        if asked[0] == 2:
            scans.reconciler.halt()
        return found(info)

    scans.queue.result_found = halt_at_second  # type: ignore[method-assign]
    scans.scan()
    assert states(scans.queue) == {"done": 2, "dead": 10}
    scans.reconciler = scans.another()
    scans.scan()
    assert states(scans.queue) == {"done": 12}

    for name in names:
        scans.store.delete(IN, f"{name}.mp4")
    scans.reconciler = scans.another()
    checks = itertools.count()
    check = scans.reconciler._check_halted

    def halt_at_third() -> None:
        if next(checks) == 2:
            scans.reconciler.halt()
        check()

    scans.reconciler._check_halted = halt_at_third  # type: ignore[method-assign]
    succeeded = len(scans.succeeded)
    scans.scan()
    assert next(checks) == 3
    assert len(scans.succeeded) == succeeded


def test_a_failed_scan_remembers_what_it_has_read(scans: Scans) -> None:
    scans.store.upload(*"abcdefghi")
    scans.store.recognise(*"abcdefghi")

    def fail() -> None:
        raise StoreUnavailable("no answer")

    scans.store.before = once("metadata f.csv", fail)
    with pytest.raises(StoreUnavailable):
        scans.scan()
    assert scans.succeeded == []
    again = [key for _, key in scans.scan()]
    assert set("fghi") <= {key.removesuffix(".csv") for key in again}
    assert not {"a.csv", "b.csv", "c.csv", "d.csv", "e.csv"} & set(again)
    assert scans.scan() == []


def test_a_result_that_may_not_be_read_is_read_again_at_each_scan(scans: Scans) -> None:
    def refuse(kind: str, key: str) -> None:
        if (kind, key) == ("metadata", "b.csv"):
            raise StoreMisconfigured("refused with 403")

    scans.store.upload(*"abc")
    scans.store.recognise(*"abc")
    scans.store.before = refuse
    scans.scan()
    assert scans.scan() == [("metadata", "b.csv")]
    assert states(scans.queue) == {}


def test_a_result_that_does_not_name_its_video_is_no_proof(scans: Scans) -> None:
    scans.store.upload("a")
    scans.store.write(OUT, "a.csv", b"", "text/csv", {})
    scans.scan()
    assert scans.queued() == ["a.mp4"]


def test_dead_letters_are_compared_page_by_page(scans: Scans) -> None:
    """A dead letter whose result exists is done; the other ones stay."""
    scans.store.upload(*"abcdefg")
    for name in "abcdefg":
        scans.event(name)
        scans.queue.bury(claimed(scans.queue), "no_answer", "")
    scans.store.recognise(*"aceg")
    scans.scan()
    assert states(scans.queue) == {"done": 4, "dead": 3}
    assert sorted(work.key for work in scans.queue.latest(9, "dead")) == ["b.mp4", "d.mp4", "f.mp4"]


def test_keys_that_no_database_stores_are_left_out(
    scans: Scans, caplog: pytest.LogCaptureFixture
) -> None:
    scans.store.upload("a\0b", "c")
    scans.store.write(OUT, "x\0.csv", b"", "", {})
    scans.scan()
    assert scans.queued() == ["c.mp4"]
    assert "ignored 'a\\x00b.mp4' in input" in caplog.text


def test_objects_that_are_not_videos_are_counted_at_each_scan(scans: Scans) -> None:
    for key in ("a.txt", "b.txt", "folder/"):
        scans.store.write(IN, key, b"", "", {})
    scans.scan()
    scans.scan()
    assert scans.skipped == [2, 2]


def skipped(database: Database) -> dict[str, str]:
    with database.reading() as connection:
        rows = connection.execute(select(skipped_upload.c.key, skipped_upload.c.reason))
        return {row.key: row.reason for row in rows}


def test_skipped_objects_are_stored_with_the_reason(tmp_path: Path) -> None:
    with closing(open_file(tmp_path / "inbox.sqlite3")) as database:
        scans = Scans(SqlListings(database))
        long = "x" * 1021 + ".avi"  # its result would have a longer key than S3 allows
        for key in ("a.txt", "b.txt", "folder/", "c.mp4", long):
            scans.store.write(IN, key, b"", "", {})
        scans.scan()
        assert skipped(database).keys() == {"a.txt", "b.txt", long}
        assert skipped(database)["a.txt"] == "without a video extension"
        scans.store.delete(IN, "a.txt")
        scans.scan()
        assert skipped(database).keys() == {"b.txt", long}


def test_only_some_skipped_objects_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "MAX_SKIPPED", 2)
    with closing(open_file(tmp_path / "inbox.sqlite3")) as database:
        scans = Scans(SqlListings(database))
        for key in ("a.txt", "b.txt", "c.txt"):
            scans.store.write(IN, key, b"", "", {})
        scans.scan()
        assert skipped(database).keys() == {"a.txt", "b.txt"}


def test_results_of_odd_keys_are_found(scans: Scans) -> None:
    """Results do not sort like videos: `a-b.csv` sorts before `a.csv`, but `a.mp4-b.mp4` after."""
    keys = [
        "a.mp4",
        "a.mp4-b.mp4",
        "a.avi",
        "a.avi.mp4",
        "a-b.mp4",
        "a/b.mp4",
        "ä 1+2%41.MP4",
        "😀.mov",
    ]
    for key in keys:
        scans.store.write(IN, key, b"1", "video/mp4", {})
        etag = MemoryStore.head(scans.store, IN, key).etag
        scans.store.write(OUT, result_key(key), b"", "text/csv", {"source-etag": etag})
    assert len(scans.scan()) == len(keys)
    assert states(scans.queue) == {}
    assert scans.scan() == []


def test_a_deleted_video_is_not_looked_up_again(scans: Scans) -> None:
    scans.store.upload("a", "b")
    scans.store.recognise("a")
    scans.scan()
    scans.store.delete(IN, "a.mp4")
    scans.store.delete(IN, "b.mp4")
    with pytest.raises(ObjectNotFound):
        MemoryStore.head(scans.store, IN, "a.mp4")
    assert scans.scan() == []


def test_two_scans_at_once_queue_each_video_once() -> None:
    """The second scan begins in the middle of the first one."""
    scans = Scans()
    other = scans.another()
    scans.store.upload(*"abcdef")
    threads: list[threading.Thread] = []

    def begin() -> None:
        threads.append(threading.Thread(target=other.reconcile))
        threads[0].start()
        wait_until(lambda: scans.store.count("list") >= 3, "the second scan")

    scans.store.before = once(f"list {OUT}", begin)
    scans.scan()
    threads[0].join(60)
    assert scans.queued() == [f"{name}.mp4" for name in "abcdef"]
    assert scans.found == 6


@pytest.fixture
def triggers(postgres_url: str) -> Iterator[tuple[Scans, Scans]]:
    """Two triggers that share a PostgreSQL database and a store."""
    with closing(Database(postgres_url)) as one, closing(Database(postgres_url)) as two:
        first, second = Scans(SqlListings(one)), Scans(SqlListings(two))
        first.queue, second.queue, second.store = SqlQueue(one), SqlQueue(two), first.store
        first.reconciler, second.reconciler = first.another(), second.another()
        yield first, second


def test_of_two_triggers_one_scans_at_a_time(triggers: tuple[Scans, Scans]) -> None:
    first, second = triggers
    first.store.upload(*"abcd")
    first.store.recognise("a")
    first.store.before = once(f"list {OUT}", second.reconciler.reconcile)
    first.scan()
    assert first.store.count("list") == 2, "the second trigger lists nothing"
    assert first.queued() == [f"{name}.mp4" for name in "bcd"]
    assert (first.found, second.found) == (3, 0)
    assert second.scan() == [], "the second trigger knows the results of the first one"


def test_a_trigger_does_not_scan_again_what_another_has_just_scanned(
    triggers: tuple[Scans, Scans],
) -> None:
    first, second = triggers
    second.reconciler = second.another(every_s=3600.0)
    second.scan()
    assert second.succeeded, "nobody has scanned before"
    first.reconciler = first.another(every_s=3600.0)
    first.store.upload("a")
    first.scan()
    assert first.store.requests == []
    assert first.succeeded == second.succeeded
    first.reconciler = first.another(every_s=0.0)
    first.scan()
    assert first.queued() == ["a.mp4"]


def test_work_that_two_triggers_finish_during_scans_is_not_queued_again(
    triggers: tuple[Scans, Scans],
) -> None:
    """Both triggers scan in turn, and both do the work of events that have arrived before."""
    first, second = triggers
    names = [f"{number:03}" for number in range(150)]
    first.store.upload(*names)
    for name in names:
        first.event(name)
    errors: list[Exception] = []

    def work(scans: Scans) -> None:
        try:
            while claimed_works := scans.queue.claim(1, LEASE_S):
                for each in claimed_works:
                    scans.store.recognise(each.key.removesuffix(".mp4"))
                    scans.queue.finish(each, "recognised")
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(scans,)) for scans in triggers]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        first.scan()
        second.scan()
    assert not errors
    second.scan()
    assert states(first.queue) == {"done": len(names)}
    assert (first.found, second.found) == (0, 0)
