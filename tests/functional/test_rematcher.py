"""Videos are corrected in the background, whatever happens in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from support.filmed import Filmed, between, direction, open_filmed
from support.waiting import wait_until
from support.work_queues import Clock

from rollcall.core.errors import InboxUnavailable, ObjectChanged, StoreUnavailable
from rollcall.core.keys import faces_key, report_key, result_key
from rollcall.core.protocols import NO_METADATA
from rollcall.core.types import Student
from rollcall.corrections import recorded_changes
from rollcall.corrections.correction_parts import build_corrections
from rollcall.corrections.gallery_writer import GalleryWriter
from rollcall.corrections.rematch_queue import BATCH, LEASE_S, MAX_ATTEMPTS, MAX_DELAY_S, Done
from rollcall.corrections.removed_examples import KEEP_S, prune_removed
from rollcall.gallery.enrolled_pictures import stored_pictures, write_pictures
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.index.face_search import SqlFaceSearch
from rollcall.index.rematch_rows import (
    CLOCKS_S,
    HOLD_S,
    KEEP_VERSIONS_S,
    WAIT_FOR_CHANGE_S,
    add_outdated,
    claim,
    finish,
    set_version,
    set_version_of_removal,
)
from rollcall.index.unknown_groups import SqlUnknownGroups
from rollcall.stores.memory import MemoryStore

ADA, BEN, EVE = direction(0), direction(1), direction(5)
TWIN = between(ADA, direction(2), 0.5)


@pytest.fixture(params=["sqlite", "postgresql"])
def filmed(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Filmed]:
    with open_filmed(request, tmp_path, clock) as filmed:
        filmed.faces = {"ada": ADA, "ben": BEN, "twin": TWIN, "eve": EVE}
        filmed.enrol(Ada=ADA, Ben=BEN)
        filmed.film("1.mp4", {"twin": [0, 1]})
        filmed.film("2.mp4", {"twin": [0, 1], "ben": [3]})
        yield filmed


def not_ada(filmed: Filmed) -> int:
    return filmed.corrections.is_not([filmed.face("1.mp4", "Ada")], "Ada", "eve")


class Dies(Exception):
    """The process ends here."""


def test_a_correction_that_was_cut_short_is_found(
    filmed: Filmed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*values: object) -> int:
        raise Dies

    with monkeypatch.context() as patch:
        patch.setattr(recorded_changes, "finish", die)
        with pytest.raises(Dies):
            not_ada(filmed)
    assert len(filmed.gallery.verdicts) == 1
    assert filmed.corrections.pending() == 0
    filmed.rematcher.notice_changes()
    assert filmed.corrections.pending() == 0  # another process may be about to do it
    filmed.rematcher.notice_changes()
    assert filmed.rematcher.run_due().changed == 2
    assert filmed.names("1.mp4") == ["unknown"]
    (line,) = filmed.log.latest(10)
    assert (line.who, line.action, line.name, line.can_undo) == ("eve", "not", "Ada", True)
    filmed.corrections.undo(line.id, "eve")
    filmed.rematcher.run_due()
    assert filmed.names("2.mp4") == ["Ada", "Ben"]
    for _ in range(3):
        filmed.rematcher.notice_changes()
    assert filmed.corrections.pending() == 0


def test_a_result_that_is_indexed_during_a_correction_is_compared(
    filmed: Filmed, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The correction has looked for faces already, but has not queued the videos yet."""
    filmed.film("1.mp4", {"eve": [0]})
    before, search = filmed.gallery, GalleryWriter._videos_near

    def index_meanwhile(*values: Any) -> set[int] | None:
        found = search(*values)
        filmed.film("3.mp4", {"eve": [0]}, gallery=before)
        bucket = filmed.settings.input_bucket
        filmed.database.run(lambda open_: add_outdated(open_, clock(), bucket, ["3.mp4"]))
        return found

    monkeypatch.setattr(GalleryWriter, "_videos_near", index_meanwhile)
    filmed.corrections.is_person([filmed.face("1.mp4")], "Eve", "eve")
    clock.now_s += WAIT_FOR_CHANGE_S
    filmed.rematcher.run_due()
    assert filmed.names("1.mp4") == filmed.names("3.mp4") == ["Eve"]


def test_the_first_gallery_is_only_remembered(filmed: Filmed) -> None:
    for _ in range(3):
        filmed.rematcher.notice_changes()
    assert filmed.corrections.pending() == 0


def test_an_enrolment_by_somebody_else_is_noticed(filmed: Filmed) -> None:
    filmed.rematcher.notice_changes()
    filmed.rematcher.notice_changes()
    filmed.film("3.mp4", {"eve": [0]})
    filmed.film("bare.mp4", {"eve": [0]}, kept="none")
    filmed.location.save(render_gallery(filmed.gallery.with_encoding("Eve", EVE)))
    filmed.rematcher.notice_changes()
    filmed.rematcher.notice_changes()
    assert filmed.rematcher.run_due() == Done(changed=1, unchanged=2)
    assert filmed.names("3.mp4") == ["Eve"]
    assert filmed.names("bare.mp4") == ["unknown"]


class BusyStore(MemoryStore):
    """Does something else first, when an object is about to be replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.before_write: Callable[[str], None] = lambda key: None

    def write_if(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        etag: str,
        metadata: Mapping[str, str] = NO_METADATA,
    ) -> None:
        self.before_write(key)
        super().write_if(bucket, key, body, content_type, etag, metadata)


def with_store(filmed: Filmed, store: MemoryStore) -> None:
    """Let the parts of `filmed` use another store with the same objects."""
    assert isinstance(filmed.store, MemoryStore)
    store._objects = filmed.store._objects
    filmed.store = store
    filmed.corrections, filmed.rematcher = build_corrections(
        filmed.settings, filmed.database, store, filmed.location, filmed.students
    )


@pytest.mark.parametrize("moment", [faces_key, result_key, report_key])
def test_a_newer_upload_keeps_its_result(
    filmed: Filmed, clock: Clock, moment: Callable[[str], str]
) -> None:
    store = BusyStore()
    with_store(filmed, store)
    old_gallery = filmed.gallery
    not_ada(filmed)

    def upload(key: str) -> None:
        if key == moment("1.mp4"):
            store.before_write = lambda key: None
            filmed.film("1.mp4", {"eve": [0, 1, 2]}, etag="newer", gallery=old_gallery)

    store.before_write = upload
    done = filmed.rematcher.run_due()
    assert (done.changed, done.postponed) == (1, 1)
    assert filmed.names("1.mp4") == ["unknown"]
    newer = filmed.state(["1.mp4"])
    clock.now_s += 3
    assert filmed.rematcher.run_due() == Done(unchanged=1)
    assert filmed.state(["1.mp4"]) == newer
    assert filmed.indexed("1.mp4").people[0].frames == 3


@pytest.mark.parametrize("written", [result_key, report_key])
def test_a_newer_upload_that_is_half_written_is_left_alone(
    filmed: Filmed, written: Callable[[str], str]
) -> None:
    change = not_ada(filmed)
    settings, key = filmed.settings, "1.mp4"
    filmed.film("other.mp4", {"eve": [0]})
    if written is result_key:
        place = settings.output_bucket, result_key(key)
        metadata = {**filmed.metadata(key), "source-etag": "newer"}
        filmed.store.write(*place, filmed.result("other.mp4"), "text/csv", metadata)
    else:
        place = settings.report_bucket, report_key(key)
        newer = filmed.store.read(place[0], report_key("other.mp4"), 1 << 20)
        filmed.store.write(*place, newer, "application/json", {})
    result = filmed.result(key)
    assert filmed.rematcher.run_due() == Done(changed=1, unchanged=1)
    assert filmed.result(key) == result
    line = filmed.log.get(change)
    assert line is not None
    assert line.videos == 1


def test_a_new_object_under_the_key_of_a_video_stops_its_correction(filmed: Filmed) -> None:
    not_ada(filmed)
    filmed.store.write(filmed.settings.input_bucket, "1.mp4", b"newer video", "video/mp4", {})
    assert filmed.rematcher.run_due() == Done(changed=1, unchanged=1)
    assert filmed.names("1.mp4") == ["Ada"]


def test_a_deleted_video_is_corrected_too(filmed: Filmed) -> None:
    not_ada(filmed)
    filmed.store.delete(filmed.settings.input_bucket, "1.mp4")
    assert filmed.rematcher.run_due() == Done(changed=2)
    assert filmed.names("1.mp4") == ["unknown"]


def test_a_store_that_refuses_conditions_is_written_anyway(filmed: Filmed) -> None:
    class Refuses(MemoryStore):
        def write_if(self, bucket: str, key: str, *values: Any, **more: Any) -> None:
            raise ObjectChanged(f"{key!r} was replaced")

    with_store(filmed, Refuses())
    not_ada(filmed)
    assert filmed.rematcher.run_due() == Done(changed=2)
    assert filmed.names("1.mp4") == ["unknown"]


def test_a_store_that_ignores_conditions_keeps_a_newer_upload(filmed: Filmed, clock: Clock) -> None:
    class Ignores(MemoryStore):
        def write_if(self, bucket: str, key: str, *values: Any, **more: Any) -> None:
            body, content_type, _, metadata = values
            self.write(bucket, key, body, content_type, metadata)

    with_store(filmed, Ignores())
    old_gallery = filmed.gallery
    not_ada(filmed)
    get = filmed.students.get

    def upload(name: str) -> Student | None:  # the result and the report were just read
        filmed.students.get = get  # type: ignore[method-assign]
        filmed.film("2.mp4", {"ben": [0, 1, 2]}, etag="newer", gallery=old_gallery)
        return get(name)

    filmed.students.get = upload  # type: ignore[method-assign]
    assert filmed.rematcher.run_due() == Done(changed=1, postponed=1)
    clock.now_s += 3
    assert filmed.rematcher.run_due() == Done(unchanged=1)
    assert filmed.names("2.mp4") == ["Ben"]
    assert filmed.indexed("2.mp4").people[0].frames == 3


def test_a_result_that_was_deleted_stays_deleted(
    filmed: Filmed, caplog: pytest.LogCaptureFixture
) -> None:
    change = not_ada(filmed)
    filmed.store.delete(filmed.settings.output_bucket, "1.csv")
    assert filmed.rematcher.run_due() == Done(changed=1, failed=1)
    assert "'1.mp4' is not corrected: the result of '1.mp4' was deleted" in caplog.text
    line = filmed.log.get(change)
    assert line is not None
    assert (line.videos, line.details["failed"]) == (1, 1)
    assert filmed.corrections.pending() == 0


def test_faces_that_cannot_be_read_are_reported(
    filmed: Filmed, caplog: pytest.LogCaptureFixture
) -> None:
    change = not_ada(filmed)
    place = filmed.settings.report_bucket, faces_key("2.mp4")
    filmed.store.write(*place, b"PK", "", {})
    assert filmed.rematcher.run_due() == Done(changed=1, failed=1)
    line = filmed.log.get(change)
    assert line is not None
    assert line.details["failed"] == 1


@pytest.mark.parametrize("body", [b"[]", b'{"people": 7}', b"\xff", b'{"people": [7]}'])
def test_a_report_that_cannot_be_read_is_reported(
    filmed: Filmed, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    place = filmed.settings.report_bucket, report_key("2.mp4")
    filmed.film("3.mp4", {"ben": [3]}, kept="none")
    other = filmed.settings.report_bucket, report_key("3.mp4")
    video = filmed.report("3.mp4")["video"]
    if body.startswith(b"{"):
        body = body.replace(b"{", b'{"video": ' + json.dumps(video).encode() + b", ", 1)
    filmed.store.write(*place, body, "application/json", {})
    filmed.store.write(*other, body, "application/json", {})
    not_ada(filmed)
    filmed.corrections.rename("Ben", "Benjamin", "eve")
    done = filmed.rematcher.run_due()
    assert done.changed >= 1
    assert done.postponed == 0
    assert done.all == 3


def test_without_the_student_table_videos_wait(filmed: Filmed, clock: Clock) -> None:
    def down(name: str) -> Student | None:
        raise StoreUnavailable("DynamoDB does not answer")

    up, filmed.students.get = filmed.students.get, down  # type: ignore[method-assign]
    filmed.corrections.is_person([filmed.face("1.mp4", "Ada")], "Eve", "eve")
    delays = []
    for _ in range(MAX_ATTEMPTS - 1):
        assert filmed.rematcher.run_due().postponed == 2
        assert filmed.rematcher.run_due() == Done()
        with filmed.database.reading() as connection:
            due_s, message = connection.execute(text("SELECT due_s, message FROM rematch")).all()[0]
        assert message == "DynamoDB does not answer"
        delays.append(due_s - clock.now_s)
        clock.now_s = due_s
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (2.0, MAX_DELAY_S)
    filmed.add_student("Eve", "physics", "2")
    filmed.students.get = up  # type: ignore[method-assign]
    assert filmed.rematcher.run_due() == Done(changed=2)
    assert b"Eve,physics,2," in filmed.result("2.mp4")


@pytest.mark.parametrize("part", [SqlFaceSearch, SqlUnknownGroups])
@pytest.mark.parametrize("error", [InboxUnavailable, Dies])
def test_faces_that_could_not_be_put_are_found_after_the_next_try(
    filmed: Filmed,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    part: type,
    error: type[Exception],
) -> None:
    """The index is written already, so neither the result nor the index differs any more."""

    def fail(*values: object) -> None:
        raise error("the database was started again")

    filmed.film("3.mp4", {"twin": [0, 1], "eve": [3]})
    eve = filmed.face("3.mp4")
    filmed.corrections.is_not([filmed.face("3.mp4", "Ada")], "Ada", "olga")
    with monkeypatch.context() as patch:
        patch.setattr(part, "put_all", fail)
        for _ in range(2):  # the video of the verdict is in a batch of its own
            with suppress(Dies):
                filmed.rematcher.run_due()
    assert filmed.names("3.mp4") == ["unknown", "unknown"]
    assert filmed.search.count() == 0
    clock.now_s += LEASE_S
    filmed.rematcher.run_due()
    (found,) = filmed.search.find(EVE[None], filmed.gallery.space, 0.1, 10)
    assert found.face.video_id == eve.video_id
    assert filmed.corrections.pending() == 0
    assert sum(group.appearances for group in filmed.groups.largest(10)) == 4


def test_a_video_that_never_works_is_given_up(filmed: Filmed, clock: Clock) -> None:
    def down(name: str) -> Student | None:
        raise ZeroDivisionError

    filmed.students.get = down  # type: ignore[method-assign]
    filmed.corrections.is_person([filmed.face("1.mp4", "Ada")], "Eve", "eve")
    for _ in range(MAX_ATTEMPTS):
        last = filmed.rematcher.run_due()
        clock.now_s += MAX_DELAY_S
    assert last == Done(failed=2)
    assert filmed.corrections.pending() == 0


def test_a_gallery_that_cannot_be_read_loses_no_video(filmed: Filmed, clock: Clock) -> None:
    not_ada(filmed)
    body = filmed.location.load()
    filmed.location.path.write_bytes(b"broken")
    with pytest.raises(Exception, match="cannot be used"):
        filmed.rematcher.run_due()
    filmed.location.save(body)
    clock.now_s += 3
    assert filmed.rematcher.run_due() == Done(changed=2)


def test_a_recognition_with_an_old_gallery_is_compared_again(filmed: Filmed, clock: Clock) -> None:
    old = filmed.gallery
    not_ada(filmed)
    filmed.rematcher.run_due()
    filmed.film("late.mp4", {"twin": [0]}, gallery=old)
    filmed.film("good.mp4", {"twin": [0]})
    filmed.film("bare.mp4", {"twin": [0]}, gallery=old, kept="none")

    def outdated() -> None:
        keys = ("late.mp4", "good.mp4", "bare.mp4")
        with filmed.database.transaction() as connection:
            add_outdated(connection, clock.now_s, filmed.settings.input_bucket, keys)

    outdated()
    assert filmed.rematcher.run_due() == Done(changed=1, unchanged=1)
    assert filmed.names("late.mp4") == ["unknown"]
    # Versions are forgotten some time after they were replaced, not after they were made.
    clock.now_s += 10 * KEEP_VERSIONS_S
    filmed.corrections.rename("Ben", "Benjamin", "eve")
    filmed.rematcher.run_due()
    filmed.film("late.mp4", {"twin": [0]}, gallery=old)
    outdated()
    with filmed.database.reading() as connection:
        assert connection.execute(text("SELECT key FROM rematch")).scalars().all() == ["good.mp4"]


def test_after_a_removal_old_galleries_are_still_known(filmed: Filmed, clock: Clock) -> None:
    """A late result is compared again, but it keeps its names until the removal was repeated."""
    old = filmed.gallery
    not_ada(filmed)
    filmed.rematcher.run_due()
    filmed.film("early.mp4", {"twin": [0]}, gallery=old)
    removed = filmed.gallery.without("Ben")
    filmed.location.save(render_gallery(removed))
    clock.now_s = filmed.indexed("early.mp4").finished_s + 2 * CLOCKS_S

    def notice(*keys: str) -> None:
        with filmed.database.transaction() as connection:
            add_outdated(connection, clock.now_s, filmed.settings.input_bucket, keys)

    with filmed.database.transaction() as connection:
        set_version_of_removal(connection, clock.now_s, removed.version)
    filmed.film("late.mp4", {"twin": [0], "ben": [3]}, gallery=old)
    notice("early.mp4", "late.mp4")
    assert filmed.rematcher.run_due() == Done(changed=1)
    assert filmed.names("early.mp4") == ["unknown"]
    assert filmed.names("late.mp4") == ["Ben", "Ada"]
    with filmed.database.transaction() as connection:  # the removal is repeated
        clock.now_s += HOLD_S - 1
        set_version_of_removal(connection, clock.now_s, removed.version)
    assert filmed.rematcher.run_due() == Done()
    clock.now_s += 1
    assert filmed.rematcher.run_due() == Done(changed=1)
    assert filmed.names("late.mp4") == ["unknown", "unknown"]


def test_a_change_during_a_correction_is_not_lost(filmed: Filmed, clock: Clock) -> None:
    not_ada(filmed)
    with filmed.database.transaction() as connection:
        rows = claim(connection, clock.now_s, 10, LEASE_S)
        rows += claim(connection, clock.now_s, 10, LEASE_S)
        assert claim(connection, clock.now_s, 10, LEASE_S) == []
    assert [row.key for row in rows] == ["1.mp4", "2.mp4"]
    filmed.corrections.rename("Ada", "Countess", "eve")
    with filmed.database.transaction() as connection:
        assert [finish(connection, row) for row in rows] == [False, False]
        set_version(connection, clock.now_s, "other")
    assert filmed.corrections.pending() == 2


def claimed(filmed: Filmed, now_s: float) -> list[str]:
    with filmed.database.transaction() as connection:
        return [row.key for row in claim(connection, now_s, 20, LEASE_S)]


def test_a_process_that_dies_leaves_its_videos_to_others(filmed: Filmed, clock: Clock) -> None:
    not_ada(filmed)
    assert claimed(filmed, clock.now_s) + claimed(filmed, clock.now_s) == ["1.mp4", "2.mp4"]
    assert filmed.rematcher.run_due() == Done()
    clock.now_s += LEASE_S
    assert filmed.rematcher.run_due() == Done(changed=2)


def test_several_processes_share_the_videos(filmed: Filmed) -> None:
    for number in range(40):
        filmed.film(f"more/{number}.mp4", {"twin": [0]})
    change = not_ada(filmed)
    parts = (filmed.settings, filmed.database, filmed.store, filmed.location, filmed.students)
    others = [build_corrections(*parts).rematcher for _ in range(3)]
    done: list[Done] = []
    threads = [
        threading.Thread(target=lambda other=other: done.append(other.run_due()))
        for other in others
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.changed for each in done) == sum(each.all for each in done) == 42
    line = filmed.log.get(change)
    assert line is not None
    assert line.videos == 42


def test_the_videos_of_a_verdict_are_corrected_before_others(filmed: Filmed, clock: Clock) -> None:
    for number in range(30):
        filmed.film(f"more/{number}.mp4", {"twin": [0]})
    filmed.corrections.gallery_changed()  # somebody enrols a person
    clock.now_s += 5
    change = filmed.corrections.is_not([filmed.face("more/29.mp4", "Ada")], "Ada", "olga")
    clock.now_s += 5
    filmed.corrections.gallery_changed()  # once more
    assert claimed(filmed, clock.now_s) == ["more/29.mp4"]
    clock.now_s += 5
    filmed.corrections.is_not([filmed.face("more/17.mp4", "Ada")], "Ada", "olga")
    filmed.corrections.undo(change, "olga")
    assert sorted(claimed(filmed, clock.now_s)) == ["more/17.mp4", "more/29.mp4"]
    assert len(claimed(filmed, clock.now_s)) == 20
    clock.now_s += LEASE_S
    assert filmed.rematcher.run_due().all == 32
    assert filmed.corrections.pending() == 0


def test_the_video_of_a_removed_face_is_corrected_first(filmed: Filmed, clock: Clock) -> None:
    filmed.film("3.mp4", {"twin": [0]})
    filmed.corrections.is_person([filmed.face("3.mp4", "Ada")], "Ben", "olga")
    (added,) = [each for each in filmed.gallery.examples_of("Ben") if each.verdict]
    filmed.rematcher.run_due()
    change = filmed.corrections.remove_example("Ben", added.id, "olga")
    assert claimed(filmed, clock.now_s) == ["3.mp4"]
    filmed.corrections.undo(change, "olga")
    assert claimed(filmed, clock.now_s) == ["3.mp4"]


def test_a_store_that_does_not_answer_ends_a_run(filmed: Filmed) -> None:
    calls: list[str] = []

    def down(name: str) -> Student | None:
        calls.append(name)
        raise StoreUnavailable("DynamoDB does not answer")

    for number in range(4 * BATCH):
        filmed.film(f"more/{number}.mp4", {"eve": [0]})
    filmed.location.save(render_gallery(filmed.gallery.with_encoding("Eve", EVE)))
    filmed.corrections.gallery_changed()
    filmed.students.get = down  # type: ignore[method-assign]
    # The first batch also has the two videos that do not change.
    assert filmed.rematcher.run_due() == Done(unchanged=2, postponed=3 * BATCH - 2)
    assert len(calls) == 3, "each call takes as long as the time-outs"
    assert filmed.corrections.pending() == 4 * BATCH


def test_the_thread_corrects_videos_and_ends(filmed: Filmed) -> None:
    with filmed.rematcher.running():
        not_ada(filmed)
        wait_until(lambda: filmed.corrections.pending() == 0, "the correction of two videos")
    assert filmed.names("1.mp4") == ["unknown"]
    filmed.corrections.undo(1, "eve")
    assert filmed.corrections.pending() == 2


JPEG = b"a picture"


def with_pictures(filmed: Filmed) -> tuple[str, str]:
    """Give everybody a picture. Returns the ids of the photos of Ada and Ben."""
    examples = [filmed.gallery.examples_of(name)[0].id for name in ("Ada", "Ben")]
    write_pictures(filmed.location, dict.fromkeys(examples, JPEG))
    return examples[0], examples[1]


def test_the_picture_of_a_removed_photo_is_deleted_with_its_encoding(
    filmed: Filmed, clock: Clock
) -> None:
    filmed.corrections.is_not([filmed.face("1.mp4", "Ada")], "Ada", "olga")  # gives ids
    ada, ben = with_pictures(filmed)
    filmed.corrections.undo(filmed.corrections.remove_example("Ada", ada, "olga"), "olga")
    filmed.corrections.remove_example("Ben", ben, "olga")
    clock.now_s += KEEP_S
    prune_removed(filmed.database, filmed.location)
    assert stored_pictures(filmed.location) == {ada, ben}
    clock.now_s += 1
    prune_removed(filmed.database, filmed.location)
    assert stored_pictures(filmed.location) == {ada}
    with filmed.database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM removed_example")).scalar_one() == 0
    filmed.corrections.remove_example("Ada", ada, "olga")
    filmed.location.path.unlink()
    clock.now_s += KEEP_S + 1
    prune_removed(filmed.database, filmed.location)  # without a gallery, too
    assert stored_pictures(filmed.location) == set()


def test_the_undo_of_an_enrolment_deletes_the_pictures(filmed: Filmed) -> None:
    filmed.corrections.is_not([filmed.face("1.mp4", "Ada")], "Ada", "olga")  # gives ids
    ada, ben = with_pictures(filmed)
    change_id = filmed.log.record("olga", "enrol", "Ben", {"photos": 1}, {"examples": [ben]})
    filmed.corrections.undo(change_id, "olga")
    assert filmed.gallery.people == ("Ada",)
    assert stored_pictures(filmed.location) == {ada}
