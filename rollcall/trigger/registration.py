"""Where the store's events go: set up with the store, and taken back."""

from __future__ import annotations

import logging
from functools import partial

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
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.settings import Settings

log = logging.getLogger(__name__)

TOPIC = "rollcall-videos"


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
