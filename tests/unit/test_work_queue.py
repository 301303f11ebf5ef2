"""The contract of work queues: acknowledged events are stored, and each object has one call a time.

The tests run with all work queues: SQLite, PostgreSQL, and the one in memory.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from support.databases import open_file
from support.work_queues import (
    HOUR_S,
    LEASE_S,
    T0,
    Clock,
    claim,
    claimed,
    documents,
    listed,
    states,
    video,
)

from rollcall.core.errors import BadEvent, InboxUnavailable
from rollcall.core.index_documents import pointed_at
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.types import VideoRef
from rollcall.core.work import WORK_STATES, Notice, Work
from rollcall.database.database import Database
from rollcall.index.documents import indexed_video
from rollcall.queues import memory_queue, sql_queue
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.queues.queue_rules import KEEP_BAD_BYTES, KEEP_DONE_S
from rollcall.queues.sql_queue import SqlQueue
from tests.unit.conftest import OpenQueue


class TestWorkQueue:
    # --- which events are the same work

    def test_queued_work_has_every_field_that_a_call_needs(self, queue: WorkQueue) -> None:
        event = replace(video(), event_name="ObjectCreated:Copy")
        assert queue.add([event]) == 1
        work = claimed(queue)
        assert (work.bucket, work.key, work.version_id, work.etag) == (
            "videos",
            "a.mp4",
            "v1",
            "e1",
        )
        assert (work.event_name, work.origin, work.state) == (
            "ObjectCreated:Copy",
            "event",
            "running",
        )
        assert (work.attempts, work.calls, work.received_s) == (1, 1, T0)

    def test_duplicates_are_one_piece_of_work(self, queue: WorkQueue) -> None:
        assert queue.add([video(), video(), video("b.mp4", "2")]) == 2
        assert queue.add([video()]) == 0
        assert states(queue) == {"queued": 2}

    @pytest.mark.parametrize("settle", ["finish", "bury", "running"])
    def test_a_late_duplicate_is_known_in_every_state(self, queue: WorkQueue, settle: str) -> None:
        queue.add([video()])
        work = claimed(queue)
        if settle == "finish":
            queue.finish(work, "recognised")
        elif settle == "bury":
            queue.bury(work, "gone", "")
        before = states(queue)
        assert queue.add([video()]) == 0
        assert states(queue) == before

    def test_a_new_upload_of_the_same_bytes_is_new_work(self, queue: WorkQueue) -> None:
        assert queue.add([video(event_id="1")]) == 1
        assert queue.add([video(event_id="2")]) == 1

    def test_without_event_ids_the_sequencer_distinguishes_uploads(self, queue: WorkQueue) -> None:
        bare = VideoRef("videos", "a.mp4", etag="e1", sequencer="01")
        assert queue.add([bare, bare, replace(bare, sequencer="02")]) == 2

    def test_odd_keys_are_stored_unchanged(self, queue: WorkQueue) -> None:
        key = 'week 1/a+b %41 é "q"\'; DROP TABLE work; --\n王.mp4'
        queue.add([video(key)])
        assert claimed(queue).key == key
        assert queue.unsettled("videos", [key]) == {key}

    def test_a_batch_that_fails_halfway_is_not_stored(self, queue: WorkQueue) -> None:
        def batch() -> Iterator[VideoRef]:
            yield video()
            raise KeyError

        with pytest.raises(KeyError):
            queue.add(batch())
        assert states(queue) == {}
        assert queue.add([video()]) == 1

    # --- claiming

    def test_work_is_claimed_oldest_first(self, queue: WorkQueue, clock: Clock) -> None:
        queue.add([video("b.mp4", "1"), video("a.mp4", "2")])
        clock.now_s += 1
        queue.add([video("0.mp4", "3")])
        assert [claimed(queue).key for _ in range(3)] == ["b.mp4", "a.mp4", "0.mp4"]
        assert claim(queue) is None

    def test_a_retry_waits_for_its_delay_without_delaying_others(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        queue.add([video("a.mp4", "1"), video("b.mp4", "2")])
        queue.retry(claimed(queue), 30, "store_unavailable", "down")
        assert claimed(queue).key == "b.mp4"
        assert claim(queue) is None
        clock.now_s += 29.9
        assert claim(queue) is None
        clock.now_s += 0.1
        work = claimed(queue)
        assert (work.key, work.attempts, work.calls) == ("a.mp4", 2, 2)
        assert (work.code, work.message) == ("store_unavailable", "down")

    def test_a_busy_answer_counts_as_a_call_but_not_as_an_attempt(self, queue: WorkQueue) -> None:
        queue.add([video()])
        queue.retry(claimed(queue), 0, "busy", "", counts=False)
        work = claimed(queue)
        assert (work.attempts, work.calls) == (1, 2)

    def test_an_uncounted_retry_may_be_recorded_twice(self, queue: WorkQueue) -> None:
        """The answer of the first commit may be lost, and then the consumer repeats it."""
        queue.add([video()])
        work = claimed(queue)
        for _ in range(2):
            queue.retry(work, 0, "busy", "", counts=False)
        assert claimed(queue).attempts == 1

    def test_two_works_for_one_object_never_run_at_once(self, queue: WorkQueue) -> None:
        queue.add([video(event_id="1"), video(event_id="2"), video("b.mp4", "3")])
        first = claimed(queue)
        assert claimed(queue).key == "b.mp4"
        assert claim(queue) is None
        queue.finish(first, "recognised")
        second = claimed(queue)
        assert (second.key, second.id) == ("a.mp4", 2)

    def test_one_key_in_two_buckets_means_two_objects(self, queue: WorkQueue) -> None:
        queue.add([video(event_id="1"), replace(video(event_id="2"), bucket="others")])
        assert {claimed(queue).bucket, claimed(queue).bucket} == {"videos", "others"}

    @pytest.mark.parametrize("back_s", [60, 600, HOUR_S])
    def test_a_clock_that_was_set_back_before_the_start_does_not_stall(
        self, queue: WorkQueue, clock: Clock, back_s: float
    ) -> None:
        queue.add([video("new.mp4", "1"), video("again.mp4", "2")])
        queue.retry(claimed(queue), 30, "store_unavailable", "down")
        clock.now_s -= back_s
        queue.requeue_expired(everything=True)  # as at every start
        assert {claimed(queue).key, claimed(queue).key} == {"new.mp4", "again.mp4"}

    @pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
    def test_setting_the_systems_clock_changes_nothing_for_a_running_trigger(
        self, open_empty: OpenQueue, monkeypatch: pytest.MonkeyPatch, jump_s: float
    ) -> None:
        """No lease ends early, and no retry waits longer than planned."""
        queue = open_empty(None)
        queue.add([video()])
        work = claimed(queue)
        now_s = time.time()
        monkeypatch.setattr(time, "time", lambda: now_s + jump_s)
        assert queue.requeue_expired() == 0
        queue.retry(work, 0, "busy", "")
        again = claimed(queue)
        assert abs(again.changed_s - now_s) < HOUR_S / 2

    def test_a_retry_planned_for_later_is_not_mistaken_for_a_wrong_clock(
        self, queue: WorkQueue
    ) -> None:
        queue.add([video()])
        queue.retry(claimed(queue), HOUR_S, "x", "")
        assert claim(queue) is None

    # --- settling

    def test_finished_work_is_done(self, queue: WorkQueue) -> None:
        queue.add([video()])
        queue.finish(claimed(queue), "unknown")
        assert states(queue) == {"done": 1}
        assert queue.latest(5, "done")[0].code == "unknown"
        assert claim(queue) is None

    def test_dead_letters_keep_their_reason_and_replay_starts_afresh(
        self, queue: WorkQueue
    ) -> None:
        queue.add([video("a.mp4", "1"), video("b.mp4", "2"), video("c.mp4", "3")])
        for _ in range(3):
            queue.bury(claimed(queue), "not_a_video", "nothing in it")
        dead = queue.latest(5, "dead")
        assert {(work.code, work.message) for work in dead} == {("not_a_video", "nothing in it")}
        assert queue.replay([2, 99]) == 1
        work = claimed(queue)
        assert (work.key, work.attempts, work.calls) == ("b.mp4", 1, 2)
        assert queue.replay() == 2
        assert states(queue) == {"queued": 2, "running": 1}

    def test_a_dead_letter_whose_result_is_there_is_done(self, queue: WorkQueue) -> None:
        """Only the dead letter with the etag of the result's video is done."""
        queue.add([video("a.mp4", "1"), video("b.mp4", "2"), video("a.mp4", "3", etag="e2")])
        for _ in range(3):
            queue.bury(claimed(queue), "no_answer", "after 8 attempts: ReadTimeout")
        assert queue.dead("videos", "", 9) == ["a.mp4", "b.mp4"]
        assert queue.dead("videos", "", 1) == ["a.mp4"]
        assert queue.dead("videos", "a.mp4", 9) == ["b.mp4"]
        assert queue.dead("others", "", 9) == []
        assert queue.result_found(listed("a.mp4")) == 1
        assert queue.result_found(listed("a.mp4")) == 0
        (done,) = queue.latest(5, "done")
        assert (done.key, done.etag, done.code, done.message) == ("a.mp4", "e1", "result_found", "")

    def test_replay_changes_only_dead_letters(self, queue: WorkQueue) -> None:
        queue.add([video("a.mp4", "1"), video("b.mp4", "2"), video("c.mp4", "3")])
        queue.finish(claimed(queue), "recognised")
        claimed(queue)
        assert queue.replay() == 0
        assert queue.replay([1, 2, 3]) == 0
        assert states(queue) == {"done": 1, "running": 1, "queued": 1}

    def test_work_whose_lease_expired_is_requeued(self, queue: WorkQueue, clock: Clock) -> None:
        queue.add([video()])
        claimed(queue)
        clock.now_s += LEASE_S
        assert queue.requeue_expired() == 0
        clock.now_s += 0.1
        assert queue.requeue_expired() == 1
        assert claimed(queue).attempts == 2

    def test_all_claimed_work_is_requeued_when_a_trigger_starts(self, queue: WorkQueue) -> None:
        queue.add([video("a.mp4", "1"), video("b.mp4", "2")])
        claimed(queue)
        assert queue.requeue_expired(everything=True) == 1
        assert states(queue) == {"queued": 2}

    def test_an_answer_after_the_lease_still_ends_the_work(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        queue.add([video()])
        work = claimed(queue)
        clock.now_s += LEASE_S + 1
        queue.requeue_expired()
        queue.finish(work, "recognised")
        assert states(queue) == {"done": 1}

    def test_a_late_answer_does_not_change_work_that_was_claimed_again(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        """A late retry must not requeue running work. A late burial must not change done work."""
        queue.add([video()])
        first = claimed(queue)
        clock.now_s += LEASE_S + 1
        queue.requeue_expired()
        second = claimed(queue)
        queue.retry(first, 0, "x", "")
        assert states(queue) == {"running": 1}
        queue.finish(second, "recognised")
        queue.bury(first, "x", "")
        assert states(queue) == {"done": 1}

    def test_an_answer_does_not_change_other_work_with_the_same_id(self, queue: WorkQueue) -> None:
        """A failover may lose rows, whose ids the new primary then gives to other work."""
        queue.add([video()])
        lost = replace(claimed(queue), identity="lost", key="lost.mp4")
        queue.finish(lost, "recognised")
        queue.bury(lost, "x", "")
        queue.retry(lost, 0, "x", "")
        assert states(queue) == {"running": 1}

    def test_a_video_that_never_gets_a_result_becomes_a_dead_letter(self, queue: WorkQueue) -> None:
        """Function and trigger may be configured with different output buckets."""
        for _ in range(3):
            assert queue.add_missing(listed())
            queue.finish(claimed(queue), "recognised")
        assert queue.add_missing(listed(), write_notice=lambda work: Notice("1", work.message))
        (dead,) = queue.latest(5, "dead")
        assert "OUTPUT_BUCKET" in dead.message
        (notice,) = queue.outbox.claim(5, LEASE_S)
        assert notice.body == dead.message
        assert not queue.add_missing(listed())

    def test_a_late_retry_does_not_requeue_finished_work(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        queue.add([video()])
        work = claimed(queue)
        queue.finish(work, "recognised")
        queue.retry(work, 0, "x", "")
        assert states(queue) == {"done": 1}

    def test_prune_forgets_only_what_was_done_long_ago(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        queue.add(
            [video("done", "1"), video("dead", "2"), video("running", "3"), video("queued", "4")]
        )
        queue.finish(claimed(queue), "recognised")
        queue.bury(claimed(queue), "gone", "")
        claimed(queue)
        clock.now_s += KEEP_DONE_S
        assert queue.prune() == 0
        clock.now_s += 1
        assert queue.prune() == 1
        assert states(queue) == {"dead": 1, "running": 1, "queued": 1}

    def test_prune_forgets_dead_letters_when_it_is_told_to(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        queue.add([video("done", "1"), video("dead", "2"), video("later", "3")])
        queue.finish(claimed(queue), "recognised")
        queue.bury(claimed(queue), "gone", "")
        clock.now_s += 100
        queue.bury(claimed(queue), "gone", "")
        assert queue.prune(50, "dead") == 1
        assert states(queue) == {"done": 1, "dead": 1}
        assert queue.codes() == {("done", "recognised"): 1, ("dead", "gone"): 1}
        assert queue.add([video("dead", "2")]) == 1

    def test_prune_forgets_bad_events_too(self, queue: WorkQueue, clock: Clock) -> None:
        queue.add_bad_event(b"old", "x")
        clock.now_s += KEEP_DONE_S + 1
        queue.add_bad_event(b"new", "x")
        queue.prune()
        assert [event.body for event in queue.bad_events(9)] == [b"new"]

    def test_latest_lists_the_work_that_changed_last(self, queue: WorkQueue, clock: Clock) -> None:
        queue.add([video(key, key) for key in ("a", "b", "c")])
        first = claimed(queue)
        clock.now_s += 1
        queue.finish(first, "recognised")
        assert [work.key for work in queue.latest(2)] == ["a", "c"]

    def test_unsettled_is_queued_or_running_in_that_bucket(self, queue: WorkQueue) -> None:
        queue.add([video("done", "1"), video("running", "2"), video("queued", "3")])
        queue.add([replace(video("other", "4"), bucket="others")])
        queue.finish(claimed(queue), "recognised")
        claimed(queue)
        keys = ["done", "running", "queued", "other", "unknown"]
        assert queue.unsettled("videos", keys) == {"running", "queued"}
        assert queue.unsettled("videos", ["done", "queued"]) == {"queued"}
        assert queue.unsettled("videos", []) == set()

    # --- the reconciler

    def test_missing_result_is_queued_once(self, queue: WorkQueue) -> None:
        assert queue.add_missing(listed())
        assert not queue.add_missing(listed())
        assert claimed(queue).origin == "reconcile"
        assert not queue.add_missing(listed())

    def test_a_waiting_event_is_not_queued_again(self, queue: WorkQueue) -> None:
        queue.add([video()])
        assert not queue.add_missing(listed())
        assert not queue.add_missing(listed(etag="e2"))

    def test_finished_work_whose_result_is_lost_is_queued_again(self, queue: WorkQueue) -> None:
        """The same upload may be found several times, even while the clock stands still."""
        queue.add([video()])
        for _ in range(3):
            queue.finish(claimed(queue), "recognised")
            assert queue.add_missing(listed())
        assert states(queue) == {"done": 3, "queued": 1}

    def test_work_that_was_done_after_the_results_were_listed_is_left_to_the_next_scan(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        queue.add([video()])
        queue.finish(claimed(queue), "recognised")
        assert not queue.add_missing(listed(), T0 - 1)
        assert not queue.add_missing(listed(), T0)
        assert queue.add_missing(listed("b.mp4"), T0 - 1)
        assert states(queue) == {"done": 1, "queued": 1}
        assert queue.add_missing(listed(), T0 + 1)
        assert states(queue) == {"done": 1, "queued": 2}

    @pytest.mark.parametrize("etag", ["e1", ""])
    def test_a_dead_letter_of_this_upload_stays_dead(self, queue: WorkQueue, etag: str) -> None:
        queue.add([video(etag=etag)])
        queue.bury(claimed(queue), "not_a_video", "")
        assert not queue.add_missing(listed(etag="e1"))
        assert states(queue) == {"dead": 1}

    @pytest.mark.parametrize("later_s", [0.1, 1, HOUR_S])
    def test_a_dead_letter_without_etag_does_not_hide_a_newer_upload(
        self, queue: WorkQueue, clock: Clock, later_s: float
    ) -> None:
        """The newer upload has its own calls, and its dead letter is not queued again."""
        queue.add([video(etag="")])
        queue.bury(claimed(queue), "not_a_video", "")
        assert not queue.add_missing(listed(etag="e1", at_s=T0 - 5))
        newer = listed(etag="e2", at_s=T0 + later_s)
        assert queue.add_missing(newer)
        queue.bury(claimed(queue), "not_a_video", "")
        assert not queue.add_missing(newer)
        assert queue.add_missing(listed(etag="e3", at_s=T0 + later_s + 1))

    def test_a_dead_letter_does_not_prevent_work_for_another_upload(self, queue: WorkQueue) -> None:
        queue.add([video()])
        queue.bury(claimed(queue), "not_a_video", "")
        assert queue.add_missing(listed(etag="e2"))
        assert queue.add_missing(listed("b.mp4"))

    @pytest.mark.parametrize("late_s", [-1.9, 0, 1.9])
    @pytest.mark.parametrize("settled", [False, True])
    def test_a_late_event_of_reconciled_work_is_a_duplicate(
        self, queue: WorkQueue, late_s: float, settled: bool
    ) -> None:
        queue.add_missing(listed())
        if settled:
            queue.finish(claimed(queue), "recognised")
        assert queue.add([video(at_s=T0 + late_s)]) == 0

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
        ids=[
            "later",
            "earlier",
            "other etag",
            "no etag",
            "other key",
            "other bucket",
            "no time",
            "?",
        ],
    )
    def test_an_event_of_another_upload_than_the_reconciled_one_is_new_work(
        self, queue: WorkQueue, event: VideoRef
    ) -> None:
        queue.add_missing(listed())
        assert queue.add([event]) == 1

    def test_two_events_with_the_same_time_are_not_duplicates(self, queue: WorkQueue) -> None:
        """Only work of the reconciler is compared with later events by time."""
        assert queue.add([video(event_id="1"), video(event_id="2")]) == 2

    @pytest.mark.parametrize("time", ["", "x", "2026", "0001-01-01", "9999-12-31T23:59:59", "\x00"])
    def test_any_time_is_stored(self, queue: WorkQueue, time: str) -> None:
        assert queue.add([replace(video(), event_time=time)]) == 1

    # --- bad events

    def test_bad_events_are_shortened_and_listed_newest_first(
        self, queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (memory_queue, sql_queue):
            monkeypatch.setattr(module, "KEEP_BAD_EVENTS", 3)
        for number in range(5):
            queue.add_bad_event(b"\xff" * (KEEP_BAD_BYTES + 1), f"reason {number}")
        found = queue.bad_events(10)
        assert [event.reason for event in found] == ["reason 4", "reason 3", "reason 2"]
        assert {event.body for event in found} == {b"\xff" * KEEP_BAD_BYTES}
        assert found[0].received_s == T0
        assert states(queue) == {"bad": 3}

    def test_a_closed_queue_is_unavailable(self, queue: WorkQueue) -> None:
        queue.close()
        with pytest.raises(InboxUnavailable):
            queue.add([video()])
        with pytest.raises(InboxUnavailable):
            queue.counts()

    def test_direct_calls_with_different_ids_are_different_work(self, queue: WorkQueue) -> None:
        """Direct calls have no event id and no sequencer; only the given id differs."""
        first = VideoRef("b", "a.mp4", given_work_id="mine-1")
        second = replace(first, given_work_id="mine-2")
        assert [queue.add([first]), queue.add([first]), queue.add([second])] == [1, 0, 1]
        assert {each.work_id for each in queue.latest(10)} == {"mine-1", "mine-2"}

    def test_counts_have_every_state(self, queue: WorkQueue) -> None:
        assert queue.counts() == dict.fromkeys([*WORK_STATES, "bad"], 0)

    def test_one_owner_at_a_time(self, queue: WorkQueue) -> None:
        if queue.shared:
            with queue.own(), queue.own():
                return
        with queue.own(), pytest.raises(InboxUnavailable, match="another trigger"):
            queue.own().__enter__()
        with queue.own():
            pass

    def test_an_event_whose_work_was_pruned_is_not_a_duplicate(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        queue.add([video()])
        queue.finish(claimed(queue), "recognised")
        clock.now_s += KEEP_DONE_S + 1
        queue.prune()
        assert queue.add([video()]) == 1

    # --- batches

    def test_a_batch_is_claimed_in_the_order_of_single_claims(
        self, queue: WorkQueue, clock: Clock
    ) -> None:
        queue.add(
            [video(f"{prefix}/{n}.mp4", f"{prefix}{n}") for n in range(4) for prefix in "abc"]
        )
        works = queue.claim(7, LEASE_S)
        assert [work.key[:3] for work in works] == ["a/0", "b/0", "c/0", "a/1", "b/1", "c/1", "a/2"]
        assert {(work.state, work.attempts) for work in works} == {("running", 1)}
        assert len(queue.claim(100, LEASE_S)) == 5
        assert queue.claim(100, LEASE_S) == []

    def test_a_batch_has_one_work_of_each_object(self, queue: WorkQueue) -> None:
        queue.add([video(event_id=str(n)) for n in range(3)] + [video("b.mp4", "9")])
        assert [work.key for work in queue.claim(9, LEASE_S)] == ["a.mp4", "b.mp4"]

    def test_changes_of_many_threads_are_all_stored(self, queue: WorkQueue) -> None:
        with ThreadPoolExecutor(16) as pool:
            new = list(
                pool.map(lambda n: queue.add([video(f"{n % 50}.mp4", str(n // 2))]), range(200))
            )
        assert sum(new) == 100
        works = queue.claim(100, LEASE_S)
        ends = [
            lambda work: queue.finish(work, "recognised"),
            lambda work: queue.bury(work, "gone", "gone"),
            lambda work: queue.retry(work, 0, "down", "down"),
        ]
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda work: ends[work.id % 3](work), works))
        counts = queue.counts()
        assert counts["running"] == 0
        assert counts["done"] == sum(work.id % 3 == 0 for work in works)
        assert counts["dead"] == sum(work.id % 3 == 1 for work in works)
        assert counts["queued"] == 100 - counts["done"] - counts["dead"]

    # --- counts and history

    def test_codes_count_what_ended(self, queue: WorkQueue) -> None:
        queue.add([video(f"{n}.mp4", str(n)) for n in range(4)])
        works = queue.claim(4, LEASE_S)
        queue.finish(works[0], "recognised")
        queue.finish(works[1], "recognised")
        queue.bury(works[2], "gone", "")
        queue.retry(works[3], 0, "down", "")
        assert dict(queue.codes()) == {("done", "recognised"): 2, ("dead", "gone"): 1}
        queue.replay()
        assert dict(queue.codes()) == {("done", "recognised"): 2}
        queue.prune(-1.0)
        assert dict(queue.codes()) == {}

    def test_the_age_of_the_oldest_waiting_work(self, queue: WorkQueue, clock: Clock) -> None:
        assert queue.oldest_waiting_s() == 0
        queue.add([video("a.mp4", "1")])
        clock.now_s += 5
        queue.add([video("b.mp4", "2")])
        clock.now_s += 5
        assert queue.oldest_waiting_s() == 10
        assert claimed(queue).key == "a.mp4"
        assert queue.oldest_waiting_s() == 5

    def test_the_history_of_a_video_has_all_its_work(self, queue: WorkQueue) -> None:
        queue.add([video(event_id=str(n)) for n in range(3)] + [video("b.mp4", "9")])
        queue.finish(claimed(queue), "recognised")
        assert [work.id for work in queue.history("videos", "a.mp4")] == [3, 2, 1]
        assert [work.state for work in queue.history("videos", "a.mp4", 1)] == ["queued"]
        assert queue.history("others", "a.mp4") == []

    def test_finished_videos_can_be_recognised_again(self, queue: WorkQueue) -> None:
        queue.add([video("a.mp4", "1"), video("b.mp4", "2"), video("c.mp4", "3")])
        queue.finish(claimed(queue), "recognised")
        queue.bury(claimed(queue), "gone", "")
        assert queue.rerun("videos", ["b.mp4", "a.mp4", "a.mp4", "c.mp4", "x"]) == [
            "b.mp4",
            "a.mp4",
        ]
        assert states(queue) == {"queued": 3, "done": 1, "dead": 1}
        claimed(queue)
        works = queue.claim(2, LEASE_S)
        assert [(work.key, work.origin, work.attempts) for work in works] == [
            ("b.mp4", "rerun", 1),
            ("a.mp4", "rerun", 1),
        ]
        assert (works[1].version_id, works[1].etag, works[1].uploaded_s) == ("v1", "e1", T0)

    def test_the_trace_and_the_time_of_the_upload_are_kept(self, queue: WorkQueue) -> None:
        queue.add([replace(video(), traceparent="00-1-2-01")])
        work = claimed(queue)
        assert (work.traceparent, work.uploaded_s) == ("00-1-2-01", T0)
        queue.finish(work, "recognised")
        assert queue.latest(1)[0].traceparent == "00-1-2-01"

    def test_a_notice_is_stored_once_with_the_end_of_its_work(self, queue: WorkQueue) -> None:
        queue.add([video()])
        work = claimed(queue)
        queue.finish(work, "recognised", Notice("m1", "body"))
        queue.bury(work, "gone", "", Notice("m2", "late"))
        assert [notice.message_id for notice in queue.outbox.claim(9, LEASE_S)] == ["m1"]

    def test_a_document_is_stored_once_with_the_end_of_its_work(self, queue: WorkQueue) -> None:
        queue.add([video("a.mp4", "1"), video("b.mp4", "2"), video("c.mp4", "3")])
        work, dead, other = claimed(queue), claimed(queue), claimed(queue)
        queue.finish(work, "recognised", document='{"status": "recognised", "key": "ä\\u0000"}')
        queue.finish(work, "recognised", document='{"status": "late"}')
        queue.bury(work, "gone", "late")
        queue.bury(dead, "not_a_video", "it is not a \x00 video")
        queue.retry(other, 0, "x", "")
        answer, failure = documents(queue)
        assert answer == '{"status": "recognised", "key": "ä\\u0000"}'
        failed = indexed_video(json.loads(failure), T0)
        assert (failed.status, failed.key, failed.etag) == ("error", dead.key, "e1")
        assert (failed.error_code, failed.work_id) == ("not_a_video", dead.work_id)
        assert (failed.uploaded_s, failed.error_message) == (T0, "it is not a \ufffd video")

    def test_work_without_a_document_leaves_none(self, queue: WorkQueue) -> None:
        queue.add([video()])
        queue.finish(claimed(queue), "ignored")
        assert documents(queue) == []

    def test_an_upload_that_is_given_up_is_shown_in_the_index(self, queue: WorkQueue) -> None:
        for _ in range(3):
            assert queue.add_missing(listed())
            queue.finish(claimed(queue), "recognised")
        assert queue.add_missing(listed())
        (failure,) = documents(queue)
        assert indexed_video(json.loads(failure)).error_code == "no_result"

    def test_the_report_is_read_for_a_dead_letter_whose_result_is_found(
        self, queue: WorkQueue
    ) -> None:
        queue.add([video()])
        queue.bury(claimed(queue), "no_answer", "")
        assert queue.result_found(listed(etag="other")) == 0
        assert queue.result_found(listed()) == 1
        _, pointer = documents(queue)
        assert pointed_at(json.loads(pointer)) == ("videos", "a.mp4")

    # --- texts that PostgreSQL cannot store

    @pytest.mark.parametrize("odd", ["\x00", "\ud800", "a\udfffb\x00"])
    def test_odd_texts_are_replaced_where_they_decide_nothing(
        self, queue: WorkQueue, odd: str
    ) -> None:
        event = replace(video(event_id=odd), etag=odd, version_id=odd, traceparent=odd)
        assert [queue.add([event]), queue.add([event])] == [1, 0]
        queue.retry(claimed(queue), 0, odd, odd)
        queue.bury(claimed(queue), odd, odd)
        queue.add_bad_event(b"\x00", odd)
        shown = [*queue.latest(1), *queue.bad_events(1)]
        assert len(shown) == 2
        assert not any(odd in str(each) for each in shown)

    @pytest.mark.parametrize("key", ["a\x00.mp4", "a\ud800.mp4"])
    def test_a_key_that_cannot_be_stored_is_refused(self, queue: WorkQueue, key: str) -> None:
        with pytest.raises(BadEvent, match="NUL"):
            queue.add([video("good.mp4"), video(key, "2")])
        assert not queue.add_missing(listed(key))
        assert states(queue) == {}

    def test_long_texts_are_stored(self, queue: WorkQueue) -> None:
        """PostgreSQL cannot index more than 2704 bytes."""
        noise = "".join(map(chr, Random(1).sample(range(0x4E00, 0x9000), 1024)))
        event = VideoRef("videos", noise[:340] + ".mp4", etag=noise, sequencer=noise)
        assert [queue.add([event]), queue.add([event])] == [1, 0]
        queue.bury(claimed(queue), "gone", noise)
        assert not queue.add_missing(listed(event.key, noise))
        assert queue.result_found(listed(event.key, noise)) == 1
        assert queue.add_missing(listed(event.key, noise))


OPERATIONS = ("add", "add", "missing", "claim", "claim", "end", "requeue", "replay", "result")


@pytest.mark.parametrize("seed", range(3))
def test_all_queues_make_the_same_choices(tmp_path: Path, postgres_url: str, seed: int) -> None:
    """Random operations have the same results in all queues."""
    rng, clock = Random(seed), Clock()
    with (
        closing(SqlQueue(open_file(tmp_path / "inbox.sqlite3", clock))) as sqlite,
        closing(SqlQueue(Database(postgres_url, clock))) as postgresql,
    ):
        queues: tuple[WorkQueue, ...] = (sqlite, postgresql, MemoryQueue(clock))
        held: list[tuple[Work, ...]] = []
        for number in range(200):
            clock.now_s += rng.choice([0.0, 1.0, 30.0, LEASE_S])
            key = f"{rng.choice(['', 'a/', 'b/', 'c/'])}{rng.randrange(4)}.mp4"
            etag = rng.choice(["e1", "e2", ""])
            delay_s, counts = rng.choice([0.0, 10.0]), rng.random() < 0.7
            operation = rng.choice(OPERATIONS)
            if operation == "add":
                results = [queue.add([video(key, str(number // 2), etag)]) for queue in queues]
            elif operation == "missing":
                results = [queue.add_missing(listed(key, etag, clock.now_s)) for queue in queues]
            elif operation == "claim":
                limit = rng.randrange(1, 4)
                claims = [queue.claim(limit, LEASE_S) for queue in queues]
                results = [
                    [(work.id, work.key, work.attempts) for work in works] for works in claims
                ]
                held += zip(*claims, strict=True)
            elif operation == "end" and held:
                works, how = held.pop(rng.randrange(len(held))), rng.randrange(3)
                for queue, work in zip(queues, works, strict=True):
                    if how == 0:
                        queue.finish(work, "recognised")
                    elif how == 1:
                        queue.bury(work, "gone", "gone")
                    else:
                        queue.retry(work, delay_s, "busy", "", counts=counts)
                results = [None, None, None]
            elif operation == "requeue":
                everything = rng.random() < 0.5
                results = [queue.requeue_expired(everything=everything) for queue in queues]
            elif operation == "replay":
                ids = [rng.randrange(1, 20)]
                results = [queue.replay(ids) for queue in queues]
            else:
                results = [queue.result_found(listed(key, etag)) for queue in queues]
            assert results[0] == results[1] == results[2], (number, operation)
            found = [
                [replace(work, identity="") for work in queue.latest(1000)] for queue in queues
            ]
            assert found[0] == found[1] == found[2], (number, operation)
            counted = [(queue.counts(), queue.codes()) for queue in queues]
            assert counted[0] == counted[1] == counted[2], (number, operation)
