"""The order of work: fair between prefixes, and new work before retries."""

from __future__ import annotations

import pytest
from support.work_queues import Clock, claim, claimed, states, video

from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.work import Work
from rollcall.queues import queue_order
from rollcall.queues.queue_order import RETRY_EVERY, FairOrder, prefix_of


def add(queue: WorkQueue, *keys: str, name: str = "") -> None:
    queue.add([video(key, f"{name}{key}-{n}") for n, key in enumerate(keys)])


def finish(queue: WorkQueue, clock: Clock, work: Work, took_s: float = 1.0) -> None:
    clock.now_s += took_s
    queue.finish(work, "recognised")


def served(queue: WorkQueue, clock: Clock, count: int, took_s: float = 0.0) -> list[str]:
    keys = []
    for _ in range(count):
        work = claimed(queue)
        keys.append(work.key)
        finish(queue, clock, work, took_s)
    return keys


# --- fairness between prefixes


@pytest.mark.parametrize(
    ("key", "prefix"),
    [("a.mp4", ""), ("a/b.mp4", "a/"), ("a/b/c.mp4", "a/"), ("/a.mp4", "/"), ("王/a.mp4", "王/")],
)
def test_the_prefix_is_the_top_level_folder(key: str, prefix: str) -> None:
    assert prefix_of(key) == prefix


def test_many_videos_of_one_prefix_do_not_hold_up_another(queue: WorkQueue, clock: Clock) -> None:
    add(queue, *(f"flood/{n}.mp4" for n in range(1000)))
    served(queue, clock, 10)
    add(queue, "small/a.mp4", "small/b.mp4", "other/c.mp4", "plain.mp4")
    keys = served(queue, clock, 8)
    assert {"small/a.mp4", "other/c.mp4", "plain.mp4"} <= set(keys[:5])
    assert "small/b.mp4" in keys


def test_each_prefix_is_served_in_order(queue: WorkQueue, clock: Clock) -> None:
    keys = [f"{prefix}/{n}.mp4" for n in range(20) for prefix in "abc"]
    add(queue, *keys)
    order = served(queue, clock, len(keys))
    for prefix in "abc":
        mine = [key for key in order if key.startswith(prefix)]
        assert mine == [f"{prefix}/{n}.mp4" for n in range(20)]


def test_a_prefix_whose_calls_run_yields_the_next_slot(queue: WorkQueue) -> None:
    add(queue, *(f"slow/{n}.mp4" for n in range(50)))
    claimed(queue), claimed(queue)
    add(queue, *(f"quick/{n}.mp4" for n in range(5)))
    assert claimed(queue).key == "quick/0.mp4"
    assert claimed(queue).key == "quick/1.mp4"


def test_slow_calls_of_a_prefix_count_against_it(queue: WorkQueue, clock: Clock) -> None:
    """With one slot, turns alone would give nearly all of the time to the slow prefix."""
    add(queue, *(f"slow/{n}.mp4" for n in range(50)), *(f"quick/{n}.mp4" for n in range(20)))
    seconds = {"slow": 280.0, "quick": 1.0}
    order = []
    for _ in range(15):
        work = claimed(queue)
        order.append(work.key.split("/")[0])
        finish(queue, clock, work, seconds[order[-1]])
    assert order.count("quick") > 10


def test_a_prefix_that_was_slow_is_not_held_back_for_ever(clock: Clock) -> None:
    order = FairOrder(clock)
    order.add_call("a/", 3600)
    clock.now_s += 10 * queue_order.HALF_LIFE_S
    assert order.recent_s("a/") < 5


def test_the_number_of_remembered_prefixes_is_limited(clock: Clock) -> None:
    order = FairOrder(clock)
    for number in range(5 * queue_order.MAX_PREFIXES):
        order.add_call(f"{number}/", 300)
        clock.now_s += 1
    assert len(order._call_times) <= queue_order.MAX_PREFIXES


# --- new work before retries


def test_new_work_goes_before_retries_that_are_due(queue: WorkQueue, clock: Clock) -> None:
    add(queue, "1.mp4", "2.mp4", "3.mp4")
    for _ in range(3):
        queue.retry(claimed(queue), 1, "store_unavailable", "down")
    clock.now_s += 60
    add(queue, "4.mp4", "5.mp4")
    assert served(queue, clock, 5) == ["4.mp4", "5.mp4", "1.mp4", "2.mp4", "3.mp4"]


def test_work_after_a_busy_answer_does_not_count_as_a_retry(queue: WorkQueue, clock: Clock) -> None:
    add(queue, "busy.mp4", "failed.mp4")
    queue.retry(claimed(queue), 1, "busy", "", counts=False)
    queue.retry(claimed(queue), 0, "store_unavailable", "down")
    clock.now_s += 2
    assert served(queue, clock, 2) == ["busy.mp4", "failed.mp4"]


def test_a_retry_does_not_wait_for_many_videos_of_another_prefix(
    queue: WorkQueue, clock: Clock
) -> None:
    add(queue, "small/a.mp4")
    queue.retry(claimed(queue), 1, "store_unavailable", "down")
    add(queue, *(f"flood/{n}.mp4" for n in range(100)))
    clock.now_s += 2
    claimed(queue)
    assert claimed(queue).key == "small/a.mp4"


def test_retries_are_not_starved_by_new_work(queue: WorkQueue, clock: Clock) -> None:
    add(queue, "again.mp4")
    queue.retry(claimed(queue), 1, "store_unavailable", "down")
    clock.now_s += 2
    add(queue, *(f"{n}.mp4" for n in range(100)))
    keys = served(queue, clock, RETRY_EVERY)
    assert keys.index("again.mp4") == RETRY_EVERY - 1


# --- one object at a time


def test_works_for_one_object_run_one_after_the_other(queue: WorkQueue, clock: Clock) -> None:
    queue.add([video("a.mp4", str(n)) for n in range(4)] + [video("b.mp4", "b")])
    first = claimed(queue)
    assert claimed(queue).key == "b.mp4"
    assert claim(queue) is None
    for end in (
        lambda work: queue.finish(work, "recognised"),
        lambda work: queue.bury(work, "gone", ""),
        lambda work: queue.retry(work, 3600, "down", ""),
    ):
        end(first)
        first = claimed(queue)
        assert (first.key, claim(queue)) == ("a.mp4", None)
    assert states(queue) == {"queued": 1, "running": 2, "done": 1, "dead": 1}


def test_a_retry_that_comes_due_waits_for_the_running_work(queue: WorkQueue, clock: Clock) -> None:
    queue.add([video("a.mp4", "1")])
    queue.retry(claimed(queue), 10, "down", "")
    queue.add([video("a.mp4", "2")])
    second = claimed(queue)
    clock.now_s += 20
    assert claim(queue) is None
    queue.finish(second, "recognised")
    assert claimed(queue).attempts == 2


def test_replayed_dead_letters_of_one_object_run_one_after_the_other(queue: WorkQueue) -> None:
    queue.add([video("a.mp4", str(n)) for n in range(3)])
    for _ in range(3):
        queue.bury(claimed(queue), "gone", "")
    assert queue.replay() == 3
    for _ in range(3):
        work = claimed(queue)
        assert claim(queue) is None
        queue.finish(work, "recognised")
