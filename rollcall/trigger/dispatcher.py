"""The trigger's consumer: claims work from the work queue and calls the function for it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rollcall.core.index_documents import answer_document
from rollcall.core.log_fields import about
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.retry import AttemptResult, RetryPolicy, metric_code
from rollcall.core.trace_context import trace_id_of, traceparent_of
from rollcall.core.work import Notice, Work
from rollcall.database.steady_clock import since_boot_s
from rollcall.queues.consumer import DEFAULT_WAITS, Consumer, ConsumerWaits, Tries
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.result_webhook import ResultWebhook

log = logging.getLogger(__name__)

LEASE_SLACK_S = 15.0
"""How much longer a lease (the time for which claimed work belongs to this trigger) is than the
time-out of a call. The function goes on working after its
trigger died or was cut off from the database. So the lease must not end before the call can have
ended, and a call has to begin within this time after its work was claimed (`may_begin`)."""

REQUEUE_EVERY_S = 1.0
"""Pause between two checks for expired leases. A lease expires if its trigger dies while other
triggers run, or if a call hangs."""

TOO_LATE = AttemptResult(
    "retry", "stopping", "not called, because the lease could end before the call", counts=False
)
"""The result of an attempt that could not begin in time, for example because the database or the
whole process was held up."""


class Caller(Protocol):
    """Calls the function for a piece of work. Network errors become results, not exceptions."""

    def call(self, work: Work) -> AttemptResult: ...

    def close(self) -> None: ...


class DispatchSource:
    """The work queue as the consumer sees it, with the log lines about each video."""

    name = "the work queue"

    def __init__(
        self,
        queue: WorkQueue,
        metrics: Metrics,
        call_timeout_s: float,
        webhook: ResultWebhook | None = None,
        *,
        has_reports: bool = False,
        wake_indexer: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._has_reports = has_reports
        self._wake_indexer = wake_indexer
        self._metrics = metrics
        self._webhook = webhook
        self._lease_s = call_timeout_s + LEASE_SLACK_S
        self._requeue_at = 0.0
        self._begin_before: dict[tuple[int, int, str], float] = {}
        """When the call for a claim has to begin, in seconds since boot."""

    def describe(self, work: Work) -> str:
        return f"{work.key!r} (work {work.work_id})"

    def claim(self, limit: int) -> Sequence[Work]:
        now = time.monotonic()
        if now >= self._requeue_at:
            self._requeue_at = now + REQUEUE_EVERY_S
            if expired := self._queue.requeue_expired():
                log.warning("%d calls were cut off, and their leases ended; repeating", expired)
        # The lease began after this time, however long the answer of the queue takes.
        before_s = since_boot_s() + LEASE_SLACK_S
        works = self._queue.claim(limit, self._lease_s)
        self._begin_before.update((_claim_of(work), before_s) for work in works)
        return works

    def may_begin(self, work: Work) -> bool:
        """Whether a call that begins now ends within the lease."""
        return since_boot_s() < self._begin_before[_claim_of(work)]

    def tries(self, work: Work) -> Tries:
        return Tries(work.attempts, work.calls)

    @contextmanager
    def keep_lease(self, work: Work) -> Iterator[None]:
        """Do not extend the lease: it is longer than the time-out of a call."""
        try:
            yield
        finally:
            del self._begin_before[_claim_of(work)]

    def finish(self, work: Work, result: AttemptResult) -> None:
        # The log has one line for each finished video, without names of people (docs/security.md).
        document = answer_document(work, result, has_reports=self._has_reports)
        self._queue.finish(work, result.code, self._notice(work, result), document)
        self._metrics.note_end(work, result)
        self._wake_others()
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
        self._queue.bury(work, result.code, result.message, self._notice(work, result))
        self._metrics.note_end(work, result)
        self._wake_others()
        log.error(
            "dead letter %d: %r: %s, %d ms, work %s",
            work.id,
            work.key,
            result.message,
            result.elapsed_s * 1000,
            work.work_id,
        )

    def _notice(self, work: Work, result: AttemptResult) -> Notice | None:
        return self._webhook.write(work, result) if self._webhook else None

    def _wake_others(self) -> None:
        self._wake_indexer()
        if self._webhook:
            self._webhook.wake()


def _claim_of(work: Work) -> tuple[int, int, str]:
    # After a failover that lost rows, PostgreSQL gives their ids to new rows.
    return work.id, work.calls, work.identity


def build_dispatcher(
    queue: WorkQueue,
    caller: Caller,
    metrics: Metrics,
    policy: RetryPolicy,
    *,
    max_inflight: int,
    call_timeout_s: float,
    waits: ConsumerWaits = DEFAULT_WAITS,
    webhook: ResultWebhook | None = None,
    has_reports: bool = False,
    wake_indexer: Callable[[], None] = lambda: None,
) -> Consumer[Work]:
    """Build the consumer that makes up to `max_inflight` calls at once."""

    def count_result(result: AttemptResult) -> None:
        metrics.calls.labels(result.outcome, metric_code(result.code)).inc()

    source = DispatchSource(
        queue,
        metrics,
        call_timeout_s,
        webhook,
        has_reports=has_reports,
        wake_indexer=wake_indexer,
    )
    return Consumer(
        source,
        _measured(source, caller, metrics),
        policy,
        slots=max_inflight,
        waits=waits,
        on_result=count_result,
        about=_about,
    )


def _about(work: Work) -> AbstractContextManager[None]:
    trace_id = trace_id_of(traceparent_of(work))
    return about(work=work.work_id, key=work.key, bucket=work.bucket, trace_id=trace_id)


def _measured(
    source: DispatchSource, caller: Caller, metrics: Metrics
) -> Callable[[Work], AttemptResult]:
    def call(work: Work) -> AttemptResult:
        if not source.may_begin(work):
            return TOO_LATE
        with metrics.call_s.time():
            result = caller.call(work)
        metrics.note_answer(result)
        return result

    return call
