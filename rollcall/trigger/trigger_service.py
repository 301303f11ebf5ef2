"""The trigger as a whole: inbox, dispatcher, reconciler and HTTP, started and stopped together."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from flask import Flask

from rollcall.core.errors import InboxUnavailable
from rollcall.core.protocols import ObjectStore
from rollcall.core.settings import Settings
from rollcall.queues.inbox import Inbox
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.trigger.access import Access, checked_token
from rollcall.trigger.app import TriggerParts, create_app
from rollcall.trigger.caller import FunctionCaller
from rollcall.trigger.dispatcher import Caller, Dispatcher
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.notifications import confirm_subscription
from rollcall.trigger.receiver import Receiver
from rollcall.trigger.reconciler import Reconciler, Schedule
from rollcall.trigger.sns import SnsGate, fetch_certificate
from rollcall.trigger.sns_signature import SnsSignatures

log = logging.getLogger(__name__)

HOUSEKEEPING_S = 3600.0


class Trigger:
    """Owns the inbox that it is given."""

    def __init__(
        self, settings: Settings, inbox: Inbox, store: ObjectStore, caller: Caller
    ) -> None:
        token = checked_token(settings.trigger_token)
        self.inbox = inbox
        self._caller = caller
        self.metrics = Metrics(inbox)
        self.dispatcher = Dispatcher(
            inbox,
            caller,
            self.metrics,
            max_inflight=settings.max_inflight,
            max_attempts=settings.max_attempts,
            call_timeout_s=settings.function_timeout_s,
        )
        self._reconciler = Reconciler(
            inbox,
            store,
            settings.input_bucket,
            settings.output_bucket,
            self._missing,
            self.metrics.not_videos.set,
        )
        self._schedules = (
            Schedule("reconciler", settings.reconcile_s, self._reconciler.reconcile),
            Schedule("housekeeping", HOUSEKEEPING_S, self._prune),
        )
        self.access = Access(token)
        self.app = self._app(settings)

    def start(self) -> None:
        """Work of a process that died is queued again before anything else."""
        orphans = self.inbox.requeue_expired(everything=True)
        if orphans:
            log.warning("%d calls were cut off by the last stop; they are repeated", orphans)
        self.dispatcher.start()
        for schedule in self._schedules:
            schedule.start()

    def halt(self) -> None:
        """Begins nothing more: no call, no scan, no further object of a scan. Safe in a signal
        handler."""
        self.dispatcher.halt()
        self._reconciler.halt()
        for schedule in self._schedules:
            schedule.halt()

    def stop(self) -> None:
        """Returns when the calls in flight have ended. Also right when it was never started."""
        self.halt()
        self.dispatcher.stop()
        for schedule in self._schedules:
            schedule.stop()
        self._caller.close()
        self.inbox.close()

    def _app(self, settings: Settings) -> Flask:
        receiver = Receiver(
            self.inbox,
            self.metrics,
            settings.input_bucket,
            _sns_gate(settings),
            self.dispatcher.wake,
            settings.trigger_token.encode(),
        )
        parts = TriggerParts(self.inbox, receiver, self.metrics, self.access, self.dispatcher.alive)
        return create_app(parts)

    def _missing(self) -> None:
        self.metrics.reconciled.inc()
        self.dispatcher.wake()

    def _prune(self) -> None:
        try:
            self.inbox.prune()
        except InboxUnavailable as error:
            log.error("old work could not be forgotten: %s", error)


def _sns_gate(settings: Settings) -> SnsGate:
    arns = (arn.strip() for arn in settings.sns_topic_arns.split(","))
    confirm = partial(confirm_subscription, settings)
    check = SnsSignatures(fetch_certificate).check if settings.sns_verify == "yes" else None
    return SnsGate(frozenset(filter(None, arns)), confirm, check)


def build_trigger(settings: Settings) -> Trigger:
    """The trigger with its real parts."""
    caller = FunctionCaller(
        settings.openfaas_gateway,
        settings.openfaas_function,
        settings.function_timeout_s,
        settings.max_inflight,
        settings.function_hmac_key,
    )
    return Trigger(settings, Inbox(Path(settings.inbox)), S3Store(s3_client(settings)), caller)
