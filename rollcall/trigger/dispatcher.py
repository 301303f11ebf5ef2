"""The trigger's consumer: claims work from the work queue and calls the function for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rollcall.core.protocols import WorkQueue
from rollcall.core.retry import AttemptResult, RetryPolicy, metric_code
from rollcall.core.work import Work
from rollcall.queues.consumer import DEFAULT_WAITS, Consumer, ConsumerWaits, Tries
from rollcall.trigger.metrics import Metrics

log = logging.getLogger(__name__)

LEASE_SLACK_S = 60.0
"""How much longer a lease is than the time-out of a call. If a call takes even longer, its work is
claimed again, and the queue ignores the result of the late call."""

REQUEUE_EVERY_S = 1.0
"""Pause between two checks for expired leases. Leases expire only if a call hangs: the work of a
trigger that died is requeued when the next trigger starts."""


class Caller(Protocol):
    """Calls the function for a piece of work. Network errors become results, not exceptions."""

    def call(self, work: Work) -> AttemptResult: ...

    def close(self) -> None: ...


class DispatchSource:
    """The work queue as the consumer sees it, with the log lines about each video."""

    name = "the work queue"

    def __init__(self, queue: WorkQueue, lease_s: float) -> None:
        self._queue = queue
        self._lease_s = lease_s
        self._requeue_at = 0.0

    def describe(self, work: Work) -> str:
        return f"{work.key!r} (work {work.work_id})"

    def claim(self, limit: int) -> Sequence[Work]:
        """Lease one item at most, so that each slot gets the work that is first at that time."""
        now = time.monotonic()
        if now >= self._requeue_at:
            self._requeue_at = now + REQUEUE_EVERY_S
            self._queue.requeue_expired()
        work = self._queue.claim(self._lease_s)
        return () if work is None else (work,)

    def tries(self, work: Work) -> Tries:
        return Tries(work.attempts, work.calls)

    def keep_lease(self, work: Work) -> AbstractContextManager[None]:
        """Do nothing: the lease is longer than the time-out of a call."""
        return nullcontext()

    def finish(self, work: Work, result: AttemptResult) -> None:
        # The log has one line for each finished video, without names of people (docs/security.md).
        self._queue.finish(work, result.code)
        log.info(
            "finished %r: %s, %d ms, work %s",
            work.key,
            result.summary,
            result.elapsed_s * 1000,
            work.work_id,
        )

    def retry(self, work: Work, result: AttemptResult, delay_s: float) -> None:
        level = logging.WARNING if result.counts else logging.INFO
        details = (work.key, delay_s, result.message, work.work_id)
        log.log(level, "%r is retried in %.1f s: %s, work %s", *details)
        self._queue.retry(work, delay_s, result.code, result.message, counts=result.counts)

    def bury(self, work: Work, result: AttemptResult) -> None:
        self._queue.bury(work, result.code, result.message)
        log.error(
            "dead letter %d: %r: %s, %d ms, work %s",
            work.id,
            work.key,
            result.message,
            result.elapsed_s * 1000,
            work.work_id,
        )


def build_dispatcher(
    queue: WorkQueue,
    caller: Caller,
    metrics: Metrics,
    policy: RetryPolicy,
    *,
    max_inflight: int,
    call_timeout_s: float,
    waits: ConsumerWaits = DEFAULT_WAITS,
) -> Consumer[Work]:
    """Build the consumer that makes up to `max_inflight` calls at once."""

    def count_result(result: AttemptResult) -> None:
        metrics.calls.labels(result.outcome, metric_code(result.code)).inc()

    source = DispatchSource(queue, call_timeout_s + LEASE_SLACK_S)
    handle = _measured(caller, metrics)
    return Consumer(source, handle, policy, slots=max_inflight, waits=waits, on_result=count_result)


def _measured(caller: Caller, metrics: Metrics) -> Callable[[Work], AttemptResult]:
    def call(work: Work) -> AttemptResult:
        with metrics.call_s.time():
            result = caller.call(work)
        metrics.stale_gallery.set(result.stale_gallery)
        return result

    return call
