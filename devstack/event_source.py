"""Lambda's event source mapping for a queue: it turns batches of messages into invocations.

On AWS, Lambda does this ("Using Lambda with Amazon SQS", Lambda Developer Guide). Messages that
were processed are deleted. The others become visible again after their visibility time-out, and
finally move to the dead-letter queue.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from rollcall.core.errors import TransientError
from rollcall.stores.boto import boto_errors
from rollcall.worker.lambda_function import Answer

log = logging.getLogger(__name__)

WAIT_S = 1
"""Duration of a long poll, and of the pause after a failure. A stop may have to wait this long."""


class Function(Protocol):
    """A Lambda function that can be called synchronously."""

    def invoke(self, payload: bytes) -> Answer:
        """Call the function. Raises TransientError if it could not be called."""
        ...


@dataclass(frozen=True, kw_only=True)
class QueueSource:
    """A queue, and how many messages are read at once by how many threads."""

    client: Any
    url: str
    arn: str
    batch_size: int = 1
    concurrency: int = 2


class EventSourceMapping:
    """A context manager that polls the queue in threads. Its exit waits for calls in flight."""

    def __init__(self, source: QueueSource, function: Function) -> None:
        self._source = source
        self._function = function
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._poll, name=f"event-source-{number}")
            for number in range(source.concurrency)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _poll(self) -> None:
        while not self._stopped.is_set():
            try:
                messages = self._receive()
                if messages:
                    self._deliver(messages)
            except TransientError as error:
                # Messages that were not deleted become visible again after their time-out.
                log.warning("the messages will be delivered again: %s", error)
                self._stopped.wait(WAIT_S)

    def _receive(self) -> list[dict[str, Any]]:
        source = self._source
        with boto_errors(f"reading {source.url}"):
            answer = source.client.receive_message(
                QueueUrl=source.url,
                MaxNumberOfMessages=source.batch_size,
                WaitTimeSeconds=WAIT_S,
                MessageSystemAttributeNames=["All"],
            )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def _deliver(self, messages: Sequence[Mapping[str, Any]]) -> None:
        event = {"Records": [_record(message, self._source.arn) for message in messages]}
        answer = self._function.invoke(json.dumps(event).encode())
        failed = failed_messages(answer, {message["MessageId"] for message in messages})
        if failed:
            log.warning(
                "%d of %d messages will be delivered again: %.500s",
                len(failed),
                len(messages),
                answer,
            )
        for message in messages:
            if message["MessageId"] not in failed:
                self._delete(message)

    def _delete(self, message: Mapping[str, Any]) -> None:
        with boto_errors(f"deleting a message of {self._source.url}"):
            self._source.client.delete_message(
                QueueUrl=self._source.url, ReceiptHandle=message["ReceiptHandle"]
            )


def failed_messages(answer: Answer, sent: set[str]) -> set[str]:
    """Return the ids of the messages to deliver again, by the rules of `ReportBatchItemFailures`.

    This is the whole batch if the function failed, if its answer is invalid, or if the answer names
    a message that was not in the batch.
    """
    if answer.function_error:
        return sent
    try:
        document = json.loads(answer.payload)
        listed = (document or {}).get("batchItemFailures") or []
        named = {item["itemIdentifier"] for item in listed}
    except (ValueError, TypeError, KeyError, AttributeError):
        return sent
    # If the answer contains an unknown id, AWS delivers the whole batch again.
    return named if named <= sent else sent


def _record(message: Mapping[str, Any], arn: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": message.get("MessageAttributes", {}),
        "md5OfBody": message.get("MD5OfBody", ""),
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": arn.split(":")[3],
    }
