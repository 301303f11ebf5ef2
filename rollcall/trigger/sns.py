"""Messages from AWS SNS: which are accepted, and how a subscription is confirmed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from rollcall.core.errors import BadEvent, StoreUnavailable
from rollcall.core.event_records import plain_text
from rollcall.core.events import decode
from rollcall.http_client import HttpClient, NoAnswer, TooLong

log = logging.getLogger(__name__)

MAX_CERTIFICATE_BYTES = 65536
FETCH_TIMEOUT_S = 5.0
"""For the whole answer: a thread of the HTTP server waits for it."""

TYPES = ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")
"""A tuple, because the type of a message may be a list, which no set can look up."""

Confirm = Callable[[str, str], None]
"""Confirms a subscription, given the topic's ARN and the token that SNS sent."""

Check = Callable[[Mapping[str, Any]], None]
"""Raises BadEvent for a message that AWS has not signed, TransientError when nobody can tell."""


@dataclass(frozen=True, slots=True)
class SnsGate:
    """Hears messages of `topic_arns` that `check` accepts; without a `check`, of any topic."""

    topic_arns: frozenset[str]
    confirm: Confirm
    check: Check | None

    def admit(self, body: bytes) -> bool:
        """Whether the body is to be read as an event; a subscription is confirmed instead.

        Raises BadEvent for an SNS message that is not accepted, TransientError when AWS has to
        be asked and does not answer.
        """
        message = _message(body)
        if message is None:
            return True
        topic, subscription = plain_text(message, "TopicArn"), _asks_to_subscribe(message)
        if (self.check or subscription) and topic not in self.topic_arns:
            raise BadEvent(f"an SNS message of {topic!r:.200}, which SNS_TOPIC_ARNS lacks")
        if self.check:
            self.check(message)
        if subscription:
            self.confirm(topic, plain_text(message, "Token"))
            log.info("subscription to %s confirmed", topic)
        return not subscription


def fetch_certificate(url: str) -> bytes:
    """The bytes at this address of AWS, through the machine's proxy where it has one.

    Raises StoreUnavailable, after which SNS sends its message again, or BadEvent.
    """
    proxies = {} if proxy_bypass(urlsplit(url).hostname or "") else getproxies()
    try:
        with HttpClient(proxies=proxies) as client:
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
