"""Checks messages from AWS SNS, and confirms subscriptions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rollcall.core.errors import BadEvent, StoreUnavailable
from rollcall.core.event_records import plain_text
from rollcall.core.events import decode
from rollcall.http_client import HttpClient, NoAnswer, TooLong, proxies_for

log = logging.getLogger(__name__)

MAX_CERTIFICATE_BYTES = 65536
FETCH_TIMEOUT_S = 5.0
"""Limit for the whole download of a certificate. A thread of the HTTP server waits for it."""

# A tuple and not a set: a hostile message may have a list as its type, which cannot be hashed.
TYPES = ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")

Confirm = Callable[[str, str], None]
"""Confirms a subscription. Takes the topic's ARN and the token that SNS sent."""

Check = Callable[[Mapping[str, Any]], None]
"""Raises BadEvent if AWS did not sign the message, TransientError if that cannot be checked now."""


@dataclass(frozen=True, slots=True)
class SnsGate:
    """Accepts SNS messages of `topic_arns` whose signature is valid."""

    topic_arns: frozenset[str]
    confirm: Confirm
    check: Check | None
    """None: notifications of all topics are accepted without a signature (SNS_VERIFY=no)."""

    def admit(self, body: bytes) -> bool:
        """Whether the body has to be parsed as an event.

        False for a request to confirm a subscription, which is confirmed here. Raises BadEvent for
        an SNS message that is not accepted, and TransientError if AWS does not answer.
        """
        message = _message(body)
        if message is None:
            return True
        # Without a check, the trigger's token is enough for notifications. Subscriptions are only
        # confirmed for listed topics, because a confirmation calls AWS with our credentials.
        topic, subscription = plain_text(message, "TopicArn"), _asks_to_subscribe(message)
        if (self.check or subscription) and topic not in self.topic_arns:
            raise BadEvent(f"an SNS message of {topic!r:.200}, which is not in SNS_TOPIC_ARNS")
        if self.check:
            self.check(message)
        if subscription:
            self.confirm(topic, plain_text(message, "Token"))
            log.info("subscription to %s confirmed", topic)
        return not subscription


def fetch_certificate(url: str) -> bytes:
    """Download a certificate from AWS, through the machine's proxy if there is one.

    Raises BadEvent if there is no certificate at that URL, and StoreUnavailable if AWS cannot be
    reached. SNS then sends its message again.
    """
    try:
        with HttpClient(proxies=proxies_for(url)) as client:
            answer = client.get(url, timeout_s=FETCH_TIMEOUT_S, max_bytes=MAX_CERTIFICATE_BYTES)
    except TooLong as error:
        raise BadEvent("the SNS message's certificate is too long") from error
    except NoAnswer as error:
        raise StoreUnavailable(f"fetching {url}: {error}") from error
    if answer.status == 200:
        return answer.body
    if answer.status < 500 and answer.status != 429:
        raise BadEvent(f"the SNS message's certificate is not at {url}")
    raise StoreUnavailable(f"fetching {url}: answered {answer.status}")


def _message(body: bytes) -> dict[str, Any] | None:
    try:
        document = decode(body)
    except BadEvent:
        return None
    is_sns = isinstance(document, dict) and "Records" not in document
    return document if is_sns and document.get("Type") in TYPES else None


def _asks_to_subscribe(message: Mapping[str, Any]) -> bool:
    return message.get("Type") == "SubscriptionConfirmation"
