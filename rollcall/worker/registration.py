"""Queues, and the notification that fills the first of them."""

from __future__ import annotations

import logging

from rollcall.adapters.boto import s3_client, sqs_client
from rollcall.adapters.s3 import S3Store
from rollcall.adapters.sqs import create_queue, let_bucket_send
from rollcall.adapters.topics import notify_queue
from rollcall.core.errors import SettingsError
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.settings import Settings

log = logging.getLogger(__name__)


def register(settings: Settings) -> None:
    """Creates the buckets and the queues of the settings, and lets the input bucket send its events
    to the input queue; doing it again changes nothing. Raises SettingsError where a queue's URL is
    not the one that SQS gives to its name."""
    store, sqs = S3Store(s3_client(settings)), sqs_client(settings)
    for bucket in (settings.input_bucket, settings.output_bucket):
        store.create_bucket(bucket)
    for name in ("input_queue_url", "result_queue_url", "dead_letter_queue_url"):
        wanted = getattr(settings, name)
        made = create_queue(sqs, wanted.rpartition("/")[2])
        if made != wanted:
            raise SettingsError(f"{name.upper()} should be {made}")
    arn = let_bucket_send(sqs, settings.input_queue_url, settings.input_bucket)
    notify_queue(s3_client(settings), settings.input_bucket, arn, VIDEO_EXTENSIONS)
    log.info("events of %s go to %s", settings.input_bucket, settings.input_queue_url)
