"""Contract 3.6: what is acknowledged is stored, and one object is worked on once at a time."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollcall.core.errors import InboxUnavailable
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.queues import inbox as module
from rollcall.queues.inbox import KEEP_BAD_BYTES, KEEP_DONE_S, Inbox, Work
from rollcall.queues.inbox_file import InboxOwner

T0 = 1_795_237_499.0
LEASE_S = 100.0
HOUR_S = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now_s = T0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(tmp_path: Path, clock: Clock) -> Iterator[Inbox]:
    opened = Inbox(tmp_path / "state" / "inbox.sqlite3", clock)
    yield opened
    opened.close()


def video(key: str = "a.mp4", event_id: str = "1", etag: str = "e1", at_s: float = T0) -> VideoRef:
    event_time = datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
    return VideoRef("videos", key, "v1", etag, event_id=event_id, event_time=event_time)


def listed(key: str = "a.mp4", etag: str = "e1", at_s: float = T0) -> ObjectInfo:
    return ObjectInfo("videos", key, 10, etag, "v1", at_s)


def claim(inbox: Inbox) -> Work | None:
    return inbox.claim(LEASE_S)


def claimed(inbox: Inbox) -> Work:
    work = claim(inbox)
    assert work is not None
    return work


def states(inbox: Inbox) -> dict[str, int]:
    return {state: count for state, count in inbox.counts().items() if count}


# --- what is one piece of work


def test_event_is_queued_with_all_that_a_call_needs(inbox: Inbox) -> None:
    event = replace(video(), event_name="ObjectCreated:Copy")
    assert inbox.add([event]) == 1
    work = claimed(inbox)
    assert (work.bucket, work.key, work.version_id, work.etag) == ("videos", "a.mp4", "v1", "e1")
    assert (work.event_name, work.origin, work.state) == ("ObjectCreated:Copy", "event", "running")
    assert (work.attempts, work.calls, work.received_s) == (1, 1, T0)


def test_duplicates_are_one_piece_of_work(inbox: Inbox) -> None:
    assert inbox.add([video(), video(), video("b.mp4", "2")]) == 2
    assert inbox.add([video()]) == 0
    assert states(inbox) == {"queued": 2}


@pytest.mark.parametrize("settle", ["finish", "bury", "running"])
def test_a_late_duplicate_is_known_in_every_state(inbox: Inbox, settle: str) -> None:
    inbox.add([video()])
    work = claimed(inbox)
    if settle == "finish":
        inbox.finish(work, "recognised")
    elif settle == "bury":
        inbox.bury(work, "gone", "")
    before = states(inbox)
    assert inbox.add([video()]) == 0
    assert states(inbox) == before


def test_a_new_upload_of_the_same_bytes_is_new_work(inbox: Inbox) -> None:
    assert inbox.add([video(event_id="1")]) == 1
    assert inbox.add([video(event_id="2")]) == 1


def test_without_event_ids_the_sequencer_tells_uploads_apart(inbox: Inbox) -> None:
    bare = VideoRef("videos", "a.mp4", etag="e1", sequencer="01")
    assert inbox.add([bare, bare, replace(bare, sequencer="02")]) == 2


def test_odd_names_are_stored_as_they_are(inbox: Inbox) -> None:
    key = 'week 1/a+b %41 é "q"\'; DROP TABLE work; --\n王.mp4'
    inbox.add([video(key)])
    assert claimed(inbox).key == key
    assert inbox.unsettled("videos") == {key}


def test_nothing_is_stored_of_a_batch_that_fails_in_the_middle(inbox: Inbox) -> None:
    def batch() -> Iterator[VideoRef]:
        yield video()
        raise KeyError

    with pytest.raises(KeyError):
        inbox.add(batch())
    assert states(inbox) == {}
    assert inbox.add([video()]) == 1


# --- claiming


def test_oldest_first(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video("b.mp4", "1"), video("a.mp4", "2")])
    clock.now_s += 1
    inbox.add([video("0.mp4", "3")])
    assert [claimed(inbox).key for _ in range(3)] == ["b.mp4", "a.mp4", "0.mp4"]
    assert claim(inbox) is None


def test_a_retry_waits_its_time_and_lets_others_pass(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video("a.mp4", "1"), video("b.mp4", "2")])
    inbox.retry(claimed(inbox), 30, "store_unavailable", "down")
    assert claimed(inbox).key == "b.mp4"
    assert claim(inbox) is None
    clock.now_s += 29.9
    assert claim(inbox) is None
    clock.now_s += 0.1
    work = claimed(inbox)
    assert (work.key, work.attempts, work.calls) == ("a.mp4", 2, 2)
    assert (work.code, work.message) == ("store_unavailable", "down")


def test_being_busy_uses_up_no_attempt_but_is_a_call(inbox: Inbox) -> None:
    inbox.add([video()])
    inbox.retry(claimed(inbox), 0, "busy", "", counts=False)
    work = claimed(inbox)
    assert (work.attempts, work.calls) == (1, 2)


def test_two_works_for_one_object_never_run_at_once(inbox: Inbox) -> None:
    inbox.add([video(event_id="1"), video(event_id="2"), video("b.mp4", "3")])
    first = claimed(inbox)
    assert claimed(inbox).key == "b.mp4"
    assert claim(inbox) is None
    inbox.finish(first, "recognised")
    second = claimed(inbox)
    assert (second.key, second.id) == ("a.mp4", 2)


def test_one_name_in_two_buckets_is_two_objects(inbox: Inbox) -> None:
    inbox.add([video(event_id="1"), replace(video(event_id="2"), bucket="others")])
    assert {claimed(inbox).bucket, claimed(inbox).bucket} == {"videos", "others"}


@pytest.mark.parametrize("back_s", [60, 600, HOUR_S])
def test_a_clock_that_was_set_back_before_the_start_does_not_stall(
    inbox: Inbox, clock: Clock, back_s: float
) -> None:
    inbox.add([video("new.mp4", "1"), video("again.mp4", "2")])
    inbox.retry(claimed(inbox), 30, "store_unavailable", "down")
    clock.now_s -= back_s
    assert {claimed(inbox).key, claimed(inbox).key} == {"new.mp4", "again.mp4"}


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_setting_the_systems_clock_changes_nothing_for_a_running_trigger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """Neither does a lease end while its call runs, nor does anything wait for longer."""
    inbox = Inbox(tmp_path / "inbox.sqlite3")
    inbox.add([video()])
    work = claimed(inbox)
    now_s = time.time()
    monkeypatch.setattr(time, "time", lambda: now_s + jump_s)
    assert inbox.requeue_expired() == 0
    inbox.retry(work, 0, "busy", "")
    again = claimed(inbox)
    assert abs(again.changed_s - now_s) < HOUR_S / 2
    inbox.close()


def test_planned_retries_are_not_taken_for_a_wrong_clock(inbox: Inbox) -> None:
    inbox.add([video()])
    inbox.retry(claimed(inbox), HOUR_S, "x", "")
    assert claim(inbox) is None


# --- settling


def test_finished_work_is_done(inbox: Inbox) -> None:
    inbox.add([video()])
    inbox.finish(claimed(inbox), "unknown")
    assert states(inbox) == {"done": 1}
    assert inbox.latest(5, "done")[0].code == "unknown"
    assert claim(inbox) is None


def test_dead_letters_keep_their_reason_and_replay_starts_afresh(inbox: Inbox) -> None:
    inbox.add([video("a.mp4", "1"), video("b.mp4", "2"), video("c.mp4", "3")])
    for _ in range(3):
        inbox.bury(claimed(inbox), "not_a_video", "nothing in it")
    dead = inbox.latest(5, "dead")
    assert {(work.code, work.message) for work in dead} == {("not_a_video", "nothing in it")}
    assert inbox.replay([2, 99]) == 1
    work = claimed(inbox)
    assert (work.key, work.attempts, work.calls) == ("b.mp4", 1, 2)
    assert inbox.replay() == 2
    assert states(inbox) == {"queued": 2, "running": 1}


def test_a_dead_letter_whose_result_is_there_is_done(inbox: Inbox) -> None:
    """Only one for the very bytes that the result is of."""
    inbox.add([video("a.mp4", "1"), video("b.mp4", "2"), video("a.mp4", "3", etag="e2")])
    for _ in range(3):
        inbox.bury(claimed(inbox), "no_answer", "after 8 attempts: ReadTimeout")
    assert inbox.dead("videos") == {"a.mp4", "b.mp4"}
    assert inbox.dead("others") == set()
    assert inbox.result_found(listed("a.mp4")) == 1
    assert inbox.result_found(listed("a.mp4")) == 0
    (done,) = inbox.latest(5, "done")
    assert (done.key, done.etag, done.code, done.message) == ("a.mp4", "e1", "result_found", "")


def test_replay_leaves_everything_else_alone(inbox: Inbox) -> None:
    inbox.add([video("a.mp4", "1"), video("b.mp4", "2"), video("c.mp4", "3")])
    inbox.finish(claimed(inbox), "recognised")
    claimed(inbox)
    assert inbox.replay() == 0
    assert inbox.replay([1, 2, 3]) == 0
    assert states(inbox) == {"done": 1, "running": 1, "queued": 1}


def test_lease_that_ended_is_taken_back(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video()])
    claimed(inbox)
    clock.now_s += LEASE_S
    assert inbox.requeue_expired() == 0
    clock.now_s += 0.1
    assert inbox.requeue_expired() == 1
    assert claimed(inbox).attempts == 2


def test_a_dead_process_s_work_is_taken_back_at_once(inbox: Inbox) -> None:
    inbox.add([video("a.mp4", "1"), video("b.mp4", "2")])
    claimed(inbox)
    assert inbox.requeue_expired(everything=True) == 1
    assert states(inbox) == {"queued": 2}


def test_an_answer_after_the_lease_still_ends_the_work(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video()])
    work = claimed(inbox)
    clock.now_s += LEASE_S + 1
    inbox.requeue_expired()
    inbox.finish(work, "recognised")
    assert states(inbox) == {"done": 1}


def test_a_late_answer_says_nothing_about_work_that_was_claimed_again(
    inbox: Inbox, clock: Clock
) -> None:
    """Else a retry would queue what runs, and a burial would kill what is done."""
    inbox.add([video()])
    first = claimed(inbox)
    clock.now_s += LEASE_S + 1
    inbox.requeue_expired()
    second = claimed(inbox)
    inbox.retry(first, 0, "x", "")
    assert states(inbox) == {"running": 1}
    inbox.finish(second, "recognised")
    inbox.bury(first, "x", "")
    assert states(inbox) == {"done": 1}


def test_a_video_that_never_gets_a_result_is_a_dead_letter_in_the_end(inbox: Inbox) -> None:
    """Function and trigger may name different output buckets."""
    for _ in range(3):
        assert inbox.add_missing(listed())
        inbox.finish(claimed(inbox), "recognised")
    assert inbox.add_missing(listed())
    (dead,) = inbox.latest(5, "dead")
    assert "OUTPUT_BUCKET" in dead.message
    assert not inbox.add_missing(listed())


def test_the_file_is_for_its_owner_alone(inbox: Inbox) -> None:
    assert {p.stat().st_mode & 0o777 for p in inbox.path.parent.glob("inbox*")} == {0o600}


def test_a_late_retry_does_not_wake_finished_work(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video()])
    work = claimed(inbox)
    inbox.finish(work, "recognised")
    inbox.retry(work, 0, "x", "")
    assert states(inbox) == {"done": 1}


def test_prune_forgets_only_what_was_done_long_ago(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video("done", "1"), video("dead", "2"), video("running", "3"), video("queued", "4")])
    inbox.finish(claimed(inbox), "recognised")
    inbox.bury(claimed(inbox), "gone", "")
    claimed(inbox)
    clock.now_s += KEEP_DONE_S
    assert inbox.prune() == 0
    clock.now_s += 1
    assert inbox.prune() == 1
    assert states(inbox) == {"dead": 1, "running": 1, "queued": 1}


def test_prune_forgets_bad_events_too(inbox: Inbox, clock: Clock) -> None:
    inbox.add_bad_event(b"old", "x")
    clock.now_s += KEEP_DONE_S + 1
    inbox.add_bad_event(b"new", "x")
    inbox.prune()
    assert [event.body for event in inbox.bad_events(9)] == [b"new"]


def test_latest_is_what_changed_last(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video(key, key) for key in ("a", "b", "c")])
    first = claimed(inbox)
    clock.now_s += 1
    inbox.finish(first, "recognised")
    assert [work.key for work in inbox.latest(2)] == ["a", "c"]


def test_unsettled_is_queued_or_running_in_that_bucket(inbox: Inbox) -> None:
    inbox.add([video("done", "1"), video("running", "2"), video("queued", "3")])
    inbox.add([replace(video("other", "4"), bucket="others")])
    inbox.finish(claimed(inbox), "recognised")
    claimed(inbox)
    assert inbox.unsettled("videos") == {"running", "queued"}


# --- the reconciler


def test_missing_result_is_queued_once(inbox: Inbox) -> None:
    assert inbox.add_missing(listed())
    assert not inbox.add_missing(listed())
    assert claimed(inbox).origin == "reconcile"
    assert not inbox.add_missing(listed())


def test_a_waiting_event_is_not_queued_again(inbox: Inbox) -> None:
    inbox.add([video()])
    assert not inbox.add_missing(listed())
    assert not inbox.add_missing(listed(etag="e2"))


def test_a_lost_result_of_finished_work_is_queued(inbox: Inbox) -> None:
    """Twice at one and the same time, too."""
    inbox.add([video()])
    for _ in range(3):
        inbox.finish(claimed(inbox), "recognised")
        assert inbox.add_missing(listed())
    assert states(inbox) == {"done": 3, "queued": 1}


@pytest.mark.parametrize("etag", ["e1", ""])
def test_a_dead_letter_of_this_upload_stays_dead(inbox: Inbox, etag: str) -> None:
    inbox.add([video(etag=etag)])
    inbox.bury(claimed(inbox), "not_a_video", "")
    assert not inbox.add_missing(listed(etag="e1"))
    assert states(inbox) == {"dead": 1}


@pytest.mark.parametrize("later_s", [0.1, 1, HOUR_S])
def test_a_dead_letter_without_etag_does_not_hide_a_newer_upload(
    inbox: Inbox, clock: Clock, later_s: float
) -> None:
    """The newer one gets calls of its own, and if it dies, it stays dead."""
    inbox.add([video(etag="")])
    inbox.bury(claimed(inbox), "not_a_video", "")
    assert not inbox.add_missing(listed(etag="e1", at_s=T0 - 5))
    newer = listed(etag="e2", at_s=T0 + later_s)
    assert inbox.add_missing(newer)
    inbox.bury(claimed(inbox), "not_a_video", "")
    assert not inbox.add_missing(newer)
    assert inbox.add_missing(listed(etag="e3", at_s=T0 + later_s + 1))


def test_another_upload_is_not_held_up_by_a_dead_letter(inbox: Inbox) -> None:
    inbox.add([video()])
    inbox.bury(claimed(inbox), "not_a_video", "")
    assert inbox.add_missing(listed(etag="e2"))
    assert inbox.add_missing(listed("b.mp4"))


@pytest.mark.parametrize("late_s", [-1.9, 0, 1.9])
@pytest.mark.parametrize("settled", [False, True])
def test_reconciled_work_and_its_late_event_are_one(
    inbox: Inbox, late_s: float, settled: bool
) -> None:
    inbox.add_missing(listed())
    if settled:
        inbox.finish(claimed(inbox), "recognised")
    assert inbox.add([video(at_s=T0 + late_s)]) == 0


@pytest.mark.parametrize(
    "event",
    [
        video(at_s=T0 + 2.1),
        video(at_s=T0 - 2.1),
        video(etag="e2"),
        video(etag=""),
        video("b.mp4"),
        replace(video(), bucket="others"),
        replace(video(), event_time=""),
        replace(video(), event_time="yesterday"),
    ],
    ids=["later", "earlier", "other etag", "no etag", "other key", "other bucket", "no time", "?"],
)
def test_reconciled_work_and_another_event_are_two(inbox: Inbox, event: VideoRef) -> None:
    inbox.add_missing(listed())
    assert inbox.add([event]) == 1


def test_two_events_at_one_time_are_two(inbox: Inbox) -> None:
    """Only the reconciler's work stands for an event that it did not see."""
    assert inbox.add([video(event_id="1"), video(event_id="2")]) == 2


@pytest.mark.parametrize("time", ["", "x", "2026", "0001-01-01", "9999-12-31T23:59:59", "\x00"])
def test_any_time_is_stored(inbox: Inbox, time: str) -> None:
    assert inbox.add([replace(video(), event_time=time)]) == 1


# --- bad events


def test_bad_events_are_kept_cut_and_newest_first(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_BAD_EVENTS", 3)
    for number in range(5):
        inbox.add_bad_event(b"\xff" * (KEEP_BAD_BYTES + 1), f"reason {number}")
    found = inbox.bad_events(10)
    assert [event.reason for event in found] == ["reason 4", "reason 3", "reason 2"]
    assert {event.body for event in found} == {b"\xff" * KEEP_BAD_BYTES}
    assert found[0].received_s == T0
    assert states(inbox) == {"bad": 3}


# --- the disk


def refuses_everything(inbox: Inbox, work: Work) -> None:
    for call in (
        lambda: inbox.add([video(f"{n}.mp4", f"new {n}") for n in range(2000)]),
        lambda: inbox.add_bad_event(b"x" * KEEP_BAD_BYTES, "y" * 10**6),
        lambda: inbox.add_missing(listed("k" * 10**6)),
        lambda: inbox.bury(work, "code", "m" * 10**6),
        lambda: inbox.retry(work, 1, "code", "m" * 10**6),
    ):
        with pytest.raises(InboxUnavailable, match="disk's space and rights") as caught:
            call()
        assert str(inbox.path) in str(caught.value)


def fill_up(inbox: Inbox) -> None:
    pages = inbox._db.execute("PRAGMA page_count").fetchone()[0]
    inbox._db.execute(f"PRAGMA max_page_count={pages + 1}")


def test_full_disk_stores_nothing_and_says_so(inbox: Inbox) -> None:
    inbox.add([video()])
    work = claimed(inbox)
    fill_up(inbox)
    refuses_everything(inbox, work)
    assert states(inbox) == {"running": 1}
    inbox._db.execute("PRAGMA max_page_count=1000000")
    assert inbox.add([video("b.mp4", "2")]) == 1
    inbox.finish(work, "recognised")
    assert states(inbox) == {"queued": 1, "done": 1}


def test_read_only_disk_stores_nothing_and_says_so(inbox: Inbox) -> None:
    inbox.add([video()])
    work = claimed(inbox)
    inbox._db.execute("PRAGMA query_only=ON")
    refuses_everything(inbox, work)
    assert states(inbox) == {"running": 1}


def test_inbox_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no database" * 100)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "notes", tmp_path / "folder", tmp_path / "notes" / "inbox"):
        with pytest.raises(InboxUnavailable, match="disk's space and rights"):
            Inbox(path)


def test_closed_inbox_is_unavailable(inbox: Inbox) -> None:
    inbox.close()
    with pytest.raises(InboxUnavailable):
        inbox.add([video()])
    with pytest.raises(InboxUnavailable):
        inbox.counts()


def test_a_locked_inbox_is_unavailable(inbox: Inbox) -> None:
    inbox._db.execute("PRAGMA busy_timeout=1")
    other = sqlite3.connect(inbox.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(InboxUnavailable, match="locked"):
        inbox.add([video()])
    other.execute("ROLLBACK")
    other.close()
    assert inbox.add([video()]) == 1


def test_every_commit_reaches_the_disk(inbox: Inbox) -> None:
    """synchronous=FULL is 2: without it, the power may take what was acknowledged."""
    assert inbox._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert inbox._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# --- processes


def test_work_outlives_its_process(inbox: Inbox, clock: Clock) -> None:
    inbox.add([video("a.mp4", "1"), video("b.mp4", "2")])
    claimed(inbox)
    inbox.close()
    again = Inbox(inbox.path, clock)
    assert states(again) == {"queued": 1, "running": 1}
    again.close()


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "inbox.sqlite3"
    with InboxOwner(path), pytest.raises(InboxUnavailable, match="another trigger") as caught:
        InboxOwner(path).__enter__()
    assert repr(str(path)) in str(caught.value)
    with InboxOwner(path):
        pass


def test_owners_of_two_inboxes_do_not_meet(tmp_path: Path) -> None:
    with InboxOwner(tmp_path / "a"), InboxOwner(tmp_path / "b"):
        pass


CHILD = """
import sys
from pathlib import Path
from rollcall.core.types import VideoRef
from rollcall.queues.inbox import Inbox
from rollcall.queues.inbox_file import InboxOwner

with InboxOwner(Path(sys.argv[1])):
    inbox = Inbox(Path(sys.argv[1]))
    for number in range(1_000_000):
        inbox.add([VideoRef("videos", f"{number}.mp4", event_id=f"{number}")])
        print(number, flush=True)
        inbox.claim(100)
"""


def test_killed_in_the_middle_everything_acknowledged_is_there(tmp_path: Path) -> None:
    path = tmp_path / "inbox.sqlite3"
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, env=environ
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) == 50:
                break
        child.send_signal(signal.SIGKILL)
        last = max([50, *(int(line) for line in child.stdout if line.endswith("\n"))])
    with InboxOwner(path):
        inbox = Inbox(path)
        counts = inbox.counts()
        assert counts["queued"] + counts["running"] >= last + 1
        assert inbox.requeue_expired(everything=True) >= last
        assert inbox.unsettled("videos") >= {f"{number}.mp4" for number in range(last + 1)}
        inbox.close()


def test_calls_with_ids_of_their_own_are_works_of_their_own(inbox: Inbox) -> None:
    """A direct call has neither event nor sequencer that would tell it from an earlier one."""
    first = VideoRef("b", "a.mp4", given_work_id="mine-1")
    second = replace(first, given_work_id="mine-2")
    assert [inbox.add([first]), inbox.add([first]), inbox.add([second])] == [1, 0, 1]
    assert {each.work_id for each in inbox.latest(10)} == {"mine-1", "mine-2"}
