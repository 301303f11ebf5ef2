"""Queues, and the notification that fills the first of them."""

from __future__ import annotations

import logging

from rollcall.core.errors import SettingsError
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.settings import Settings
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.stores.sqs import create_queue, let_bucket_send
from rollcall.stores.topics import notify_queue
from rollcall.worker.queues import NAMES, Queues

log = logging.getLogger(__name__)


def register(settings: Settings) -> None:
    """Creates the buckets and the queues of the settings, and lets the input bucket send its events
    to the input queue; doing it again changes nothing.

    Raises SettingsError where a queue's URL is not the one that SQS gives to its name.
    """
    queues, s3 = Queues(settings), s3_client(settings)
    buckets = (settings.input_bucket, settings.output_bucket, settings.report_bucket)
    for bucket in filter(None, buckets):
        S3Store(s3).create_bucket(bucket)
    for name, queue in zip(NAMES, (queues.input, queues.result, queues.dead), strict=True):
        made = create_queue(queues.client, queue.name)
        if made != queue.url:
            raise SettingsError(f"{name} should be {made}")
    arn = let_bucket_send(queues.client, queues.input.url, settings.input_bucket)
    notify_queue(s3, settings.input_bucket, arn, VIDEO_EXTENSIONS)
    log.info("events of %s go to %s", settings.input_bucket, queues.input.url)
