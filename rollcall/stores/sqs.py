"""Queues in SQS: sending, long polling, and setting them up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollcall.core.errors import RollcallError
from rollcall.stores.boto import boto_errors, refusal_code

MAX_AT_ONCE = 10
"""Largest number of messages in one answer of SQS."""

RETENTION_S = 14 * 86400
"""Longest retention that SQS allows. By default, SQS would delete dead letters after four days."""

SENT_MS = "sent_ms"
"""Attribute of a replayed message: the Unix time in milliseconds when it was first sent."""

_UNIX_MS = re.compile("[0-9]{1,15}")

_NOT_SENDABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SQS rejects in a message (API reference of SendMessage)."""

_QUEUE_MISSING = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery of a message. Times are Unix times by the clock of the queue."""

    body: str
    receipt: str
    """Handle of this delivery; the next delivery of the same message has another one."""
    deliveries: int
    """Number of deliveries, including this one."""
    queued_ms: int
    """Time when the message was sent to this queue."""
    sent_ms: int
    """Time when the message was first sent: `queued_ms`, or earlier if it was replayed."""
    attributes: Mapping[str, str]
    """The sender's attributes of type String."""


class SqsQueue:
    """One queue. Every method raises StoreUnavailable or StoreMisconfigured."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self.url = url
        self.name = url.rpartition("/")[2]

    def receive(self, limit: int, wait_s: int, visibility_s: int) -> list[Message]:
        """Wait up to `wait_s` seconds for messages, and return up to `limit` of them.

        The messages stay invisible to other receivers for `visibility_s` seconds.
        """
        answer = self._call(
            "receive_message",
            MaxNumberOfMessages=min(limit, MAX_AT_ONCE),
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=visibility_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            MessageAttributeNames=["All"],
        )
        return [_parse_message(message) for message in answer.get("Messages", ())]

    def change_visibility(self, message: Message, seconds: int) -> None:
        """Keep the message invisible for `seconds` from now on; 0 makes it visible at once."""
        self._call(
            "change_message_visibility", ReceiptHandle=message.receipt, VisibilityTimeout=seconds
        )

    def delete(self, message: Message) -> None:
        self._call("delete_message", ReceiptHandle=message.receipt)

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """Send a message. SQS rejects empty values of `attributes`."""
        values = {
            name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()
        }
        self._call("send_message", MessageBody=body, MessageAttributes=values)

    def _call(self, operation: str, **arguments: Any) -> Any:
        with boto_errors(f"{operation} {self.name}"):
            return getattr(self._client, operation)(QueueUrl=self.url, **arguments)


def too_long(error: RollcallError) -> bool:
    """Whether SQS rejected a message, most likely because it was too long.

    SQS has no code for that error alone: InvalidParameterValue also covers other faulty content.
    """
    return refusal_code(error) == "InvalidParameterValue"


def create_queue(client: Any, name: str) -> str:
    """Create the queue unless it exists, and return its URL. An existing queue stays unchanged."""
    attributes = {"MessageRetentionPeriod": str(RETENTION_S)}
    try:
        with boto_errors(f"looking for the queue {name}"):
            return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except RollcallError as error:
        if refusal_code(error) not in _QUEUE_MISSING:
            raise
    with boto_errors(f"creating the queue {name}"):
        return str(client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def let_bucket_send(client: Any, url: str, bucket: str) -> str:
    """Allow the bucket to send to the queue, and return the queue's ARN.

    A policy that the queue already has stays unchanged, even if it does not allow this.
    """
    with boto_errors(f"reading the policy of {url}"):
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "Policy"])
        present: dict[str, str] = answer["Attributes"]
        if not present.get("Policy"):
            policy = json.dumps(_bucket_policy(present["QueueArn"], bucket))
            client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return present["QueueArn"]


def _bucket_policy(queue_arn: str, bucket: str) -> dict[str, Any]:
    """Return the policy that the S3 User Guide gives for notifications to a queue."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {
            "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"},
            # The ARN of a bucket does not contain the account. If our bucket is deleted, somebody
            # else may create a bucket with the same name.
            "StringEquals": {"aws:SourceAccount": queue_arn.split(":")[4]},
        },
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _parse_message(answer: Mapping[str, Any]) -> Message:
    system = answer["Attributes"]
    texts = {
        name: _sendable(value["StringValue"])
        for name, value in answer.get("MessageAttributes", {}).items()
        if "StringValue" in value
    }
    queued_ms = int(system["SentTimestamp"])
    return Message(
        _sendable(answer["Body"]),
        answer["ReceiptHandle"],
        int(system["ApproximateReceiveCount"]),
        queued_ms,
        _first_sent_ms(texts.get(SENT_MS, ""), queued_ms),
        texts,
    )


def _sendable(text: str) -> str:
    """Replace the characters that SQS rejects, or that cannot be encoded, by JSON escapes.

    The JSON of an answer may contain half of a surrogate pair. An event with the escape instead is
    rejected like any other bad event, and can be sent to the dead letters.
    """
    return _NOT_SENDABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _first_sent_ms(attribute: str, queued_ms: int) -> int:
    """Return the time in the attribute, or `queued_ms` if that time is later or malformed.

    Anyone who may send to the queue can set the attribute, so a later time is not believed: a
    result with a time in the future could never be replaced.
    """
    if _UNIX_MS.fullmatch(attribute):
        return min(int(attribute), queued_ms)
    return queued_ms
