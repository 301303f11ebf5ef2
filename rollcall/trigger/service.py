"""The trigger as a whole: inbox, dispatcher, reconciler and HTTP, started and stopped together."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

from flask import Flask

from rollcall.adapters.boto import (
    boto_errors,
    delete_notification,
    s3_client,
    sns_client,
    topic_client,
)
from rollcall.adapters.s3 import S3Store
from rollcall.adapters.topics import (
    DeleteEntry,
    ceph_notify,
    ceph_silence,
    ceph_topic,
    ceph_topic_differs,
    notify,
    remove_topic,
    silence,
    sns_topic,
)
from rollcall.core.errors import InboxUnavailable, SettingsError
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.seams import ObjectStore
from rollcall.core.settings import Settings
from rollcall.trigger.access import Access
from rollcall.trigger.app import TriggerParts, create_app
from rollcall.trigger.caller import FunctionCaller
from rollcall.trigger.dispatcher import Caller, Dispatcher
from rollcall.trigger.inbox import Inbox
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.receiver import Receiver
from rollcall.trigger.reconciler import Reconciler, Schedule

log = logging.getLogger(__name__)

HOUSEKEEPING_S = 3600.0
TOPIC = "rollcall-videos"


class Trigger:
    """Owns the inbox that it is given."""

    def __init__(
        self, settings: Settings, inbox: Inbox, store: ObjectStore, caller: Caller
    ) -> None:
        if not settings.trigger_token:
            raise SettingsError(
                "TRIGGER_TOKEN is not set; without it anyone could send events."
                " Make one with: openssl rand -hex 16"
            )
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
        self._reconciler = Reconciler(inbox, store, settings.input_bucket, settings.output_bucket)
        self._schedules = (
            Schedule("reconciler", settings.reconcile_s, self._reconcile),
            Schedule("housekeeping", HOUSEKEEPING_S, self._prune),
        )
        self.app = self._app(settings)

    def start(self) -> None:
        """Work of a process that died is queued again before anything else."""
        orphans = self.inbox.take_back(everything=True)
        if orphans:
            log.warning("%d calls were cut off by the last stop; they are repeated", orphans)
        self.dispatcher.start()
        for schedule in self._schedules:
            schedule.start()

    def stop(self) -> None:
        """Also right when it was never started."""
        for schedule in self._schedules:
            schedule.stop()
        self.dispatcher.stop()
        self._caller.close()
        self.inbox.close()

    def _app(self, settings: Settings) -> Flask:
        arns = (arn.strip() for arn in settings.sns_topic_arns.split(","))
        receiver = Receiver(
            self.inbox,
            self.metrics,
            settings.input_bucket,
            frozenset(filter(None, arns)),
            lambda arn, token: confirm_subscription(settings, arn, token),
            self.dispatcher.wake,
            settings.trigger_token.encode(),
        )
        access = Access(settings.trigger_token)
        parts = TriggerParts(self.inbox, receiver, self.metrics, access, self.dispatcher.alive)
        return create_app(parts)

    def _reconcile(self) -> None:
        found = self._reconciler.reconcile()
        if found:
            log.warning("%d videos without result were found by listing", found)
            self.metrics.reconciled.inc(found)
            self.dispatcher.wake()

    def _prune(self) -> None:
        try:
            self.inbox.prune()
        except InboxUnavailable as error:
            log.error("old work could not be forgotten: %s", error)


def build_trigger(settings: Settings) -> Trigger:
    """The trigger with its real parts."""
    caller = FunctionCaller(
        settings.openfaas_gateway,
        settings.openfaas_function,
        settings.function_timeout_s,
        settings.max_inflight,
    )
    return Trigger(settings, Inbox(Path(settings.inbox)), S3Store(s3_client(settings)), caller)


def register(settings: Settings, advertise: str, via: str) -> None:
    """Creates buckets, topic and notification; doing it again changes nothing.

    `advertise` is the trigger's address as the store sees it; `via` is `ceph`, whose gateway pushes
    itself, or `sns`, where a subscription does.
    """
    store = S3Store(s3_client(settings))
    buckets = (settings.input_bucket, settings.output_bucket, settings.report_bucket)
    for bucket in filter(None, buckets):
        store.create_bucket(bucket)
    url = advertise.rstrip("/") + "/events"
    connect = _connect_ceph if via == "ceph" else _connect_sns
    connect(settings, url)
    log.info("notifications of %s go to %s", settings.input_bucket, url)


def unregister(settings: Settings, via: str) -> None:
    """Takes the notification and the topic back; the buckets stay, with all that is in them."""
    s3, topics = s3_client(settings), topic_client(settings)
    if via == "ceph":
        ceph_silence(s3, settings.input_bucket, _deleter(settings))
    else:
        silence(s3, settings.input_bucket)
    remove_topic(topics, TOPIC)
    log.info("%s notifies us no longer", settings.input_bucket)


def _connect_ceph(settings: Settings, url: str) -> None:
    topics, token = topic_client(settings), settings.trigger_token
    if ceph_topic_differs(topics, TOPIC, url, token):
        unregister(settings, "ceph")
    arn = ceph_topic(topics, TOPIC, url, token)
    bucket, delete = settings.input_bucket, _deleter(settings)
    ceph_notify(s3_client(settings), bucket, arn, VIDEO_EXTENSIONS, delete)


def _connect_sns(settings: Settings, url: str) -> None:
    arn = sns_topic(topic_client(settings), TOPIC, url, settings.trigger_token)
    notify(s3_client(settings), settings.input_bucket, arn, VIDEO_EXTENSIONS)


def _deleter(settings: Settings) -> DeleteEntry:
    return partial(delete_notification, settings, settings.input_bucket)


def confirm_subscription(settings: Settings, topic_arn: str, token: str) -> None:
    """Through the API of the topic's region, so that no address from an event is ever opened."""
    region = (topic_arn.split(":") + [""] * 4)[3]
    with boto_errors(f"confirming the subscription to {topic_arn}"):
        sns_client(settings, region).confirm_subscription(TopicArn=topic_arn, Token=token)
