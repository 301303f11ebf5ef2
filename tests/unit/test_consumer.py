"""The consumer's loop, with a queue in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
from support.waiting import wait_until

from rollcall.core.errors import InboxUnavailable
from rollcall.core.retry import AttemptResult, RetryPolicy
from rollcall.queues.consumer import Consumer, ConsumerWaits, Tries

QUICK = RetryPolicy(first_delay_s=0.0, min_busy_delay_s=0.0)
WAITS = ConsumerWaits(idle_s=0.01, after_error_s=0.01, after_busy_s=0.0, settle_again_s=0.01)

DONE = AttemptResult("done", "done")
DOWN = AttemptResult("retry", "down", "it is down")
BUSY = AttemptResult("retry", "busy", "it is busy", counts=False)


class MemorySource:
    """A queue of strings that counts attempts.

    The first `failing_claims` claims fail, and so do the first `failing_records` attempts to record
    a result.
    """

    name = "memory"

    def __init__(self, *items: str, failing_records: int = 0, failing_claims: int = 0) -> None:
        self._lock = threading.Lock()
        self._waiting = list(items)
        self._tries = dict.fromkeys(items, Tries(0, 0))
        self._failing_records = failing_records
        self._failing_claims = failing_claims
        self.claims = 0
        self.settled: list[tuple[str, str, str]] = []
        """Item, method and code of each result that was recorded."""

    def describe(self, item: str) -> str:
        return item

    def add(self, item: str, attempts: int = 0) -> None:
        with self._lock:
            self._tries[item] = Tries(attempts, attempts)
            self._waiting.append(item)

    def claim(self, limit: int) -> Sequence[str]:
        with self._lock:
            self.claims += 1
            if self._failing_claims:
                self._failing_claims -= 1
                raise InboxUnavailable("the disk is full")
            claimed, self._waiting = self._waiting[:limit], self._waiting[limit:]
            for item in claimed:
                attempts, calls = self._tries[item]
                self._tries[item] = Tries(attempts + 1, calls + 1)
            return claimed

    def tries(self, item: str) -> Tries:
        return self._tries[item]

    def keep_lease(self, item: str) -> AbstractContextManager[None]:
        return nullcontext()

    def finish(self, item: str, result: AttemptResult) -> None:
        self._record(item, "finish", result)

    def retry(self, item: str, result: AttemptResult, delay_s: float) -> None:
        self._record(item, "retry", result)
        with self._lock:
            if not result.counts:
                attempts, calls = self._tries[item]
                self._tries[item] = Tries(attempts - 1, calls)
            self._waiting.append(item)

    def bury(self, item: str, result: AttemptResult) -> None:
        self._record(item, "bury", result)

    def _record(self, item: str, method: str, result: AttemptResult) -> None:
        with self._lock:
            if self._failing_records:
                self._failing_records -= 1
                raise InboxUnavailable("the disk is full")
            self.settled.append((item, method, result.code))


@contextmanager
def consuming(
    source: MemorySource,
    handle: Callable[[str], AttemptResult],
    policy: RetryPolicy = QUICK,
    waits: ConsumerWaits = WAITS,
    slots: int = 2,
    on_result: Callable[[AttemptResult], None] = lambda result: None,
) -> Iterator[Consumer[str]]:
    consumer = Consumer(source, handle, policy, slots=slots, waits=waits, on_result=on_result)
    consumer.start()
    try:
        yield consumer
    finally:
        consumer.stop()


def finishing(handled: list[str]) -> Callable[[str], AttemptResult]:
    """A handler that adds each item to `handled` and finishes it."""

    def handle(item: str) -> AttemptResult:
        handled.append(item)
        return DONE

    return handle


def wait_settled(source: MemorySource, count: int) -> None:
    wait_until(lambda: len(source.settled) >= count, f"{count} results")


def test_every_item_is_handled_and_finished() -> None:
    source = MemorySource("a", "b", "c")
    with consuming(source, lambda item: DONE):
        wait_settled(source, 3)
    assert sorted(source.settled) == [(item, "finish", "done") for item in "abc"]


def test_an_item_that_fails_is_retried_and_then_buried() -> None:
    source = MemorySource("a")
    with consuming(source, lambda item: DOWN, RetryPolicy(max_attempts=3, first_delay_s=0.0)):
        wait_settled(source, 3)
    assert [method for _, method, _ in source.settled] == ["retry", "retry", "bury"]


def test_a_busy_function_uses_up_no_attempt() -> None:
    source, results = MemorySource("a"), [BUSY] * 9
    policy = RetryPolicy(max_attempts=1, first_delay_s=0.0, min_busy_delay_s=0.0)
    with consuming(source, lambda item: results.pop() if results else DONE, policy):
        wait_settled(source, 10)
    assert source.settled[-1] == ("a", "finish", "done")


def test_after_a_busy_answer_nothing_is_claimed_for_a_while() -> None:
    source = MemorySource("a", "b", "c")
    waits = ConsumerWaits(idle_s=0.0, after_busy_s=3600.0)
    with consuming(source, lambda item: BUSY, waits=waits, slots=1):
        wait_settled(source, 1)
        threading.Event().wait(0.1)
        assert source.claims == 1


def test_work_whose_process_always_died_is_buried_without_another_call() -> None:
    source, handled = MemorySource(), list[str]()
    source.add("a", attempts=QUICK.max_attempts)
    with consuming(source, finishing(handled)):
        wait_settled(source, 1)
    assert source.settled == [("a", "bury", "interrupted")]
    assert not handled


def test_a_bug_in_the_handler_is_retried_a_few_times() -> None:
    def broken(item: str) -> AttemptResult:
        raise ZeroDivisionError

    source = MemorySource("a")
    with consuming(source, broken):
        wait_settled(source, QUICK.max_unexpected_attempts)
    assert [method for _, method, _ in source.settled] == ["retry", "retry", "bury"]
    assert {code for _, _, code in source.settled} == {"internal"}


def test_a_result_that_is_not_recorded_is_recorded_later_and_counted_once() -> None:
    source, handled, counted = (
        MemorySource("a", failing_records=3),
        list[str](),
        list[AttemptResult](),
    )
    with consuming(source, finishing(handled), on_result=counted.append):
        wait_settled(source, 1)
    assert handled == ["a"]
    assert len(counted) == 1


def test_a_stop_does_not_wait_for_a_queue_that_records_nothing() -> None:
    source, handled = MemorySource("a", failing_records=10**9), threading.Event()
    waits = ConsumerWaits(idle_s=0.01, settle_again_s=3600.0)

    def handle(item: str) -> AttemptResult:
        handled.set()
        return DONE

    with consuming(source, handle, waits=waits):
        assert handled.wait(60)
    assert not source.settled


def test_without_settle_again_a_result_that_is_not_recorded_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = MemorySource("a", "b", failing_records=1)
    waits = ConsumerWaits(idle_s=0.01, settle_again_s=None)
    with consuming(source, lambda item: DONE, waits=waits, slots=1):
        wait_settled(source, 1)
    assert source.settled == [("b", "finish", "done")]
    assert "a will be handled again" in caplog.text


def test_claiming_goes_on_after_an_error(caplog: pytest.LogCaptureFixture) -> None:
    source = MemorySource("a", failing_claims=3)
    with consuming(source, lambda item: DONE):
        wait_settled(source, 1)
    assert caplog.text.count("cannot claim work from memory: the disk is full") == 3


def test_wake_ends_the_wait_for_work() -> None:
    source = MemorySource()
    with consuming(source, lambda item: DONE, waits=ConsumerWaits(idle_s=3600.0)) as consumer:
        wait_until(lambda: source.claims, "the first claim")
        source.add("a")
        consumer.wake()
        wait_settled(source, 1)


def test_a_stop_waits_for_the_running_call_and_starts_no_other() -> None:
    source, begun, go_on = MemorySource("a", "b"), threading.Event(), threading.Event()
    handled = []

    def handle(item: str) -> AttemptResult:
        handled.append(item)
        begun.set()
        assert go_on.wait(60)
        return DONE

    with consuming(source, handle, slots=1) as consumer:
        assert begun.wait(60)
        consumer.halt()
        go_on.set()
    assert not consumer.alive()
    assert (handled, source.settled) == (["a"], [("a", "finish", "done")])


def test_items_claimed_after_a_stop_are_given_back_without_using_an_attempt() -> None:
    """A long poll may return its messages after the stop."""
    polling, go_on, handled = threading.Event(), threading.Event(), list[str]()

    class SlowSource(MemorySource):
        def claim(self, limit: int) -> Sequence[str]:
            polling.set()
            assert go_on.wait(60)
            return super().claim(limit)

    source = SlowSource("a", "b")
    with consuming(source, finishing(handled)) as consumer:
        assert polling.wait(60)
        consumer.halt()
        go_on.set()
    assert sorted(source.settled) == [(item, "retry", "stopping") for item in "ab"]
    assert source.tries("a") == Tries(0, 1)
    assert not handled
