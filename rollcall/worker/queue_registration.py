"""Sets up the worker's buckets and queues, and the notification that fills the input queue."""

from __future__ import annotations

import logging

from rollcall.core.errors import SettingsError
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.settings import Settings
from rollcall.stores.boto import s3_client
from rollcall.stores.buckets import create_buckets
from rollcall.stores.sqs import create_queue, let_bucket_send
from rollcall.stores.topics import notify_queue
from rollcall.worker.queues import NAMES, Queues

log = logging.getLogger(__name__)


def register(settings: Settings) -> None:
    """Create missing buckets and queues, and send the input bucket's events to the input queue.

    Registering a second time changes nothing. Raises SettingsError if the URL of a queue differs
    from the one that SQS returns for the queue's name.
    """
    queues, s3 = Queues(settings), s3_client(settings)
    create_buckets(s3, settings)
    for name, queue in zip(NAMES, (queues.input, queues.result, queues.dead), strict=True):
        url = create_queue(queues.client, queue.name)
        if url != queue.url:
            raise SettingsError(f"{name} should be {url}")
    arn = let_bucket_send(queues.client, queues.input.url, settings.input_bucket)
    notify_queue(s3, settings.input_bucket, arn, VIDEO_EXTENSIONS)
    log.info("%s sends its events to %s", settings.input_bucket, queues.input.url)
