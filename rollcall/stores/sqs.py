"""Queues in SQS: taken by long polling, deleted only when their work is safe."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollcall.core.errors import RollcallError
from rollcall.stores.boto import boto_errors, refusal_code

MAX_AT_ONCE = 10
"""Messages in one answer; SQS gives no more."""


RETENTION_S = 14 * 86400
"""The longest that SQS keeps a message; without it, dead letters would be gone after four days."""

SENT_MS = "sent_ms"
"""Attribute of a message that was sent before: when it was first sent."""

_TIME = re.compile("[0-9]{1,15}")

_NOT_SENDABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SQS refuses in a message (API reference of SendMessage)."""

_MISSING = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})


@dataclass(frozen=True, slots=True)
class Message:
    """A delivery of a message. `receipt` names the delivery, and changes with the next one."""

    body: str
    receipt: str
    deliveries: int
    """How often it was delivered, this time included."""
    queued_ms: int
    """When it came into this queue; Unix time, by the queue's clock."""
    sent_ms: int
    """When it was first sent: earlier, where it went through the dead letters."""
    attributes: Mapping[str, str]
    """Its own attributes that are texts."""


class SqsQueue:
    """One queue. Every method raises StoreUnavailable or StoreMisconfigured."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self.url = url
        self.name = url.rpartition("/")[2]

    def receive(self, most: int, wait_s: int, visibility_s: int) -> list[Message]:
        """Up to `most` messages, as soon as there is one; none after `wait_s` seconds. Nobody else
        gets them for `visibility_s` seconds."""
        answer = self._call(
            "receive_message",
            MaxNumberOfMessages=min(most, MAX_AT_ONCE),
            WaitTimeSeconds=wait_s,
            VisibilityTimeout=visibility_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            MessageAttributeNames=["All"],
        )
        return [_message(each) for each in answer.get("Messages", ())]

    def change_visibility(self, message: Message, seconds: int) -> None:
        """Nobody else gets it for so long from now on; 0 gives it back."""
        self._call(
            "change_message_visibility", ReceiptHandle=message.receipt, VisibilityTimeout=seconds
        )

    def delete(self, message: Message) -> None:
        self._call("delete_message", ReceiptHandle=message.receipt)

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """`attributes` are texts that are not empty."""
        given = {
            name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()
        }
        self._call("send_message", MessageBody=body, MessageAttributes=given)

    def _call(self, operation: str, **arguments: Any) -> Any:
        with boto_errors(f"{operation} {self.name}"):
            return getattr(self._client, operation)(QueueUrl=self.url, **arguments)


def too_long(error: RollcallError) -> bool:
    """Whether a message was refused for what it holds; mostly that is more than the queue takes."""
    return refusal_code(error) == "InvalidParameterValue"


def create_queue(client: Any, name: str) -> str:
    """Makes the queue when it is missing; its URL. One that is there stays as it is."""
    attributes = {"MessageRetentionPeriod": str(RETENTION_S)}
    try:
        with boto_errors(f"looking at the queue {name}"):
            return str(client.get_queue_url(QueueName=name)["QueueUrl"])
    except RollcallError as error:
        if refusal_code(error) not in _MISSING:
            raise
    with boto_errors(f"creating the queue {name}"):
        return str(client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def let_bucket_send(client: Any, url: str, bucket: str) -> str:
    """Lets the bucket send to the queue; the queue's ARN. A policy that is there stays as it is."""
    with boto_errors(f"reading the policy of {url}"):
        answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn", "Policy"])
        present: dict[str, str] = answer["Attributes"]
        if not present.get("Policy"):
            policy = json.dumps(_write_policy(present["QueueArn"], bucket))
            client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    return present["QueueArn"]


def _write_policy(queue_arn: str, bucket: str) -> dict[str, Any]:
    """What S3 needs to notify a queue (Amazon S3 User Guide, granting permissions to publish)."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {
            "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"},
            # A bucket's ARN names no account: a stranger may own that name once ours is deleted.
            "StringEquals": {"aws:SourceAccount": queue_arn.split(":")[4]},
        },
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _message(given: Mapping[str, Any]) -> Message:
    system, own = given["Attributes"], given.get("MessageAttributes", {})
    texts = {
        n: _sendable(value["StringValue"]) for n, value in own.items() if "StringValue" in value
    }
    queued_ms = int(system["SentTimestamp"])
    return Message(
        _sendable(given["Body"]),
        given["ReceiptHandle"],
        int(system["ApproximateReceiveCount"]),
        queued_ms,
        _first_sent_ms(texts.get(SENT_MS, ""), queued_ms),
        texts,
    )


def _sendable(text: str) -> str:
    """The text with JSON escapes in place of what cannot be sent on, or not even encoded.

    A JSON answer may hold half of a surrogate pair. As an escape it is refused like every other
    bad event, and can be stored as a dead letter.
    """
    return _NOT_SENDABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _first_sent_ms(text: str, queued_ms: int) -> int:
    """What the attribute says, where that can be: nothing was sent after it came."""
    if _TIME.fullmatch(text):
        return min(int(text), queued_ms)
    return queued_ms
