"""A call begins only if it ends within the lease of its work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.waiting import wait_until
from support.work_queues import video

from rollcall.core.figures import FigureSource
from rollcall.core.retry import AttemptResult, RetryPolicy
from rollcall.core.work import Work
from rollcall.queues.consumer import ConsumerWaits
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.trigger import dispatcher
from rollcall.trigger.dispatcher import LEASE_SLACK_S, build_dispatcher
from rollcall.trigger.metrics import Metrics

TIMEOUT_S = 60.0
WAITS = ConsumerWaits(idle_s=0.01, after_busy_s=0.01)


class Calls:
    def __init__(self) -> None:
        self.keys: list[str] = []

    def call(self, work: Work) -> AttemptResult:
        self.keys.append(work.key)
        return AttemptResult("done", "recognised")

    def close(self) -> None:
        pass


class SlowQueue(MemoryQueue):
    """The first answer to a claim with work takes `delay_s`, by the clock of the trigger."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, delay_s: float) -> None:
        super().__init__()
        self.now_s, self.delay_s = 1000.0, delay_s
        self.leases: list[float] = []
        monkeypatch.setattr(dispatcher, "since_boot_s", lambda: self.now_s)

    def claim(self, limit: int, lease_s: float) -> list[Work]:
        works = super().claim(limit, lease_s)
        if works:
            self.leases.append(lease_s)
            self.now_s, self.delay_s = self.now_s + self.delay_s, 0.0
        return works


@contextmanager
def dispatching(queue: MemoryQueue, calls: Calls) -> Iterator[None]:
    policy = RetryPolicy(first_delay_s=0.0, min_busy_delay_s=0.0)
    consumer = build_dispatcher(
        queue,
        calls,
        Metrics(FigureSource(queue)),
        policy,
        max_inflight=2,
        call_timeout_s=TIMEOUT_S,
        waits=WAITS,
    )
    consumer.start()
    try:
        yield
    finally:
        consumer.stop()


@pytest.mark.parametrize(
    ("delay_s", "claims"), [(0.0, 1), (LEASE_SLACK_S - 0.1, 1), (LEASE_SLACK_S, 2)]
)
def test_a_call_does_not_begin_too_late(
    monkeypatch: pytest.MonkeyPatch, delay_s: float, claims: int
) -> None:
    queue, calls = SlowQueue(monkeypatch, delay_s), Calls()
    queue.add([video()])
    with dispatching(queue, calls):
        wait_until(lambda: queue.counts()["done"], "the end of the call")
    assert calls.keys == ["a.mp4"]
    assert queue.leases == [TIMEOUT_S + LEASE_SLACK_S] * claims
    (work,) = queue.latest(1)
    assert (work.attempts, work.calls) == (1, claims)


def test_all_free_slots_are_filled_by_one_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, calls = SlowQueue(monkeypatch, 0.0), Calls()
    queue.add([video(f"{n}.mp4", str(n)) for n in range(2)])
    with dispatching(queue, calls):
        wait_until(lambda: queue.counts()["done"] == 2, "the end of both calls")
    assert len(queue.leases) == 1
