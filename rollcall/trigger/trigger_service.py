"""The trigger as a whole: dispatcher, reconciler and HTTP app around one work queue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from flask import Flask

from rollcall.core.errors import InboxUnavailable
from rollcall.core.figures import FigureSource
from rollcall.core.protocols import ObjectStore
from rollcall.core.queue_protocols import Listings, WorkQueue, no_notice
from rollcall.core.retry import RetryPolicy
from rollcall.core.settings import Settings
from rollcall.database.activity import oldest_transaction_s
from rollcall.database.database import Database
from rollcall.index.indexer import Indexer
from rollcall.index.report_reader import ReportReader
from rollcall.queues.consumer import DEFAULT_WAITS, ConsumerWaits
from rollcall.queues.sql_listings import SqlListings
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.tracing import PlainTracer, Tracer
from rollcall.trigger.access import Access, checked_tokens
from rollcall.trigger.app import TriggerParts, create_app
from rollcall.trigger.caller import FunctionCaller
from rollcall.trigger.dispatcher import Caller, build_dispatcher
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.notifications import confirm_subscription
from rollcall.trigger.pages import DATABASE, FUNCTION, NEEDED_FOR, STORE, Health
from rollcall.trigger.readiness import Check, FunctionCheck, Readiness, check_buckets
from rollcall.trigger.receiver import Receiver
from rollcall.trigger.reconciler import Reconciler, Schedule
from rollcall.trigger.result_webhook import build_result_webhook
from rollcall.trigger.sns import SnsGate, fetch_certificate

if TYPE_CHECKING:
    from rollcall.trigger.sns_signature import SnsSignatures

log = logging.getLogger(__name__)

HOUSEKEEPING_S = 3600.0
"""Seconds between deletions of old work."""


class Trigger:
    """Everything that runs in the trigger's process.

    The caller opens, owns and closes the queue.
    """

    def __init__(
        self,
        settings: Settings,
        queue: WorkQueue,
        listings: Listings,
        store: ObjectStore,
        caller: Caller,
        *,
        policy: RetryPolicy | None = None,
        waits: ConsumerWaits = DEFAULT_WAITS,
        oldest_transaction_s: Callable[[], float] | None = None,
        indexer: Indexer | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`oldest_transaction_s` gives the age of the oldest transaction in the database."""
        tokens = checked_tokens(settings.trigger_token)
        self.queue = queue
        self._tracer = tracer or PlainTracer()
        self._caller = caller
        self._webhook = build_result_webhook(settings, queue.outbox)
        self._indexer = indexer
        unindexed = indexer.count if indexer else None
        self.metrics = Metrics(FigureSource(queue, queue.outbox, oldest_transaction_s, unindexed))
        self.dispatcher = build_dispatcher(
            queue,
            caller,
            self.metrics,
            policy or RetryPolicy.from_settings(settings),
            max_inflight=settings.max_inflight,
            call_timeout_s=settings.function_timeout_s,
            waits=waits,
            webhook=self._webhook,
            has_reports=bool(settings.report_bucket),
            wake_indexer=indexer.wake if indexer else lambda: None,
        )
        self._reconciler = Reconciler(
            queue,
            listings,
            store,
            settings.input_bucket,
            settings.output_bucket,
            self._on_missing,
            self.metrics.not_videos.set,
            self.metrics.note_scan,
            write_notice=self._webhook.write_given_up if self._webhook else no_notice,
            every_s=settings.reconcile_s,
        )
        self._schedules = (
            Schedule("reconciler", settings.reconcile_s, self._reconciler.reconcile),
            Schedule("housekeeping", HOUSEKEEPING_S, self._prune),
        )
        self.access = Access(tokens)
        self.readiness = _readiness(settings, queue, store)
        self.app = self._build_app(settings, tokens)

    def start(self) -> None:
        """Start calls and scans. The HTTP server is started by the caller."""
        if not self.queue.shared:
            # Work that is marked as running was claimed by an earlier process, which is gone.
            requeued = self.queue.requeue_expired(everything=True)
            if requeued:
                log.warning(
                    "%d calls were cut off when the trigger last stopped; repeating", requeued
                )
        if self._webhook:
            self._webhook.start()
        if self._indexer:
            self._indexer.start()
        self.dispatcher.start()
        for schedule in self._schedules:
            schedule.start()

    def halt(self) -> None:
        """Begin no further call, delivery or scan, and end a running scan before its next object.

        Safe in a signal handler.
        """
        self.dispatcher.halt()
        if self._webhook:
            self._webhook.halt()
        self._reconciler.halt()
        if self._indexer:
            self._indexer.halt()
        for schedule in self._schedules:
            schedule.halt()

    def stop(self) -> None:
        """Halt, and return when the calls and deliveries in flight have ended.

        Works without `start` too.
        """
        self.halt()
        self.dispatcher.stop()
        if self._indexer:
            self._indexer.stop()
        for schedule in self._schedules:
            schedule.stop()
        self._caller.close()
        self._tracer.close()
        if self._webhook:
            self._webhook.stop()

    def _build_app(self, settings: Settings, tokens: Sequence[str]) -> Flask:
        receiver = Receiver(
            self.queue,
            self.metrics,
            settings.input_bucket,
            _sns_gate(settings),
            self.dispatcher.wake,
            [token.encode() for token in tokens],
            self._tracer,
        )
        health = Health(self.readiness, self._threads, settings.reconcile_s)
        parts = TriggerParts(self.queue, receiver, self.metrics, self.access, health)
        return create_app(parts)

    def _threads(self) -> dict[str, bool]:
        """The threads that run from `start` to `stop`, and whether each of them runs."""
        schedules = {schedule.name: schedule.alive() for schedule in self._schedules}
        indexer = {"indexer": self._indexer.alive()} if self._indexer else {}
        return {"dispatcher": self.dispatcher.alive(), **indexer, **schedules}

    def _on_missing(self) -> None:
        if self._webhook:
            self._webhook.wake()
        self.metrics.reconciled.inc()
        self.dispatcher.wake()

    def _prune(self) -> None:
        try:
            self.queue.prune()
            self.queue.outbox.prune()
        except InboxUnavailable as error:
            log.error("old work and old messages could not be deleted: %s", error)


def _readiness(settings: Settings, queue: WorkQueue, store: ObjectStore) -> Readiness:
    buckets = (settings.input_bucket, settings.output_bucket)
    function = FunctionCheck(settings.openfaas_gateway, settings.openfaas_function)
    return Readiness(
        [
            Check(DATABASE, NEEDED_FOR[DATABASE], queue.counts),
            Check(STORE, NEEDED_FOR[STORE], partial(check_buckets, store, buckets)),
            Check(FUNCTION, NEEDED_FOR[FUNCTION], function),
        ]
    )


def _sns_gate(settings: Settings) -> SnsGate:
    arns = (arn.strip() for arn in settings.sns_topic_arns.split(","))
    confirm = partial(confirm_subscription, settings)
    check = _check_signature if settings.sns_verify == "yes" else None
    return SnsGate(frozenset(filter(None, arns)), confirm, check)


def _check_signature(message: Mapping[str, Any]) -> None:
    _signatures().check(message)


@cache
def _signatures() -> SnsSignatures:
    # Imported here, because cryptography is slow to load, and only messages of SNS need it.
    from rollcall.trigger.sns_signature import SnsSignatures

    return SnsSignatures(fetch_certificate)


def build_trigger(
    settings: Settings,
    queue: WorkQueue,
    database: Database,
    *,
    policy: RetryPolicy | None = None,
    waits: ConsumerWaits = DEFAULT_WAITS,
    tracer: Tracer | None = None,
) -> Trigger:
    """Build the trigger with the real store and the real function. The queue is in the database."""
    caller = FunctionCaller(
        settings.openfaas_gateway,
        settings.openfaas_function,
        settings.function_timeout_s,
        settings.max_inflight,
        settings.function_hmac_key,
        tracer,
    )
    store = S3Store(s3_client(settings))
    bucket = settings.report_bucket
    # SQLite has no other connections that could keep a transaction open for long.
    oldest_s = partial(oldest_transaction_s, database) if database.shared else None
    return Trigger(
        settings,
        queue,
        SqlListings(database),
        store,
        caller,
        policy=policy,
        waits=waits,
        oldest_transaction_s=oldest_s,
        indexer=Indexer(database, ReportReader(store, bucket) if bucket else None),
        tracer=tracer,
    )
