"""Delivers the messages of the outbox to RESULT_WEBHOOK_URL, signed as Standard Webhooks are.

A consumer of its own claims the messages, so a slow receiver does not delay recognition.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from email.utils import parsedate_to_datetime

from rollcall.core.cloud_events import STRUCTURED
from rollcall.core.errors import SettingsError
from rollcall.core.notices import StoredNotice
from rollcall.core.protocols import Outbox
from rollcall.core.retry import AttemptResult, RetryPolicy
from rollcall.core.settings import Settings
from rollcall.core.webhook_signature import parse_secrets, signed_headers
from rollcall.http_client import HttpClient, NoAnswer, proxies_for
from rollcall.logs import LogLimit
from rollcall.queues.consumer import Consumer, ConsumerWaits, Tries

log = logging.getLogger(__name__)

SLOTS = 2
"""Deliveries at the same time. More would only load the receiver, which may be small."""

TIMEOUT_S = 20.0
"""Limit for one delivery. Standard Webhooks recommends 15 to 30 s."""

LEASE_S = TIMEOUT_S + 40.0
"""The slack is for the look-up of the host's name, which the time-out does not limit. If a trigger
dies during a delivery, another one repeats the delivery after this time."""

REQUEUE_EVERY_S = 15.0
"""Seconds between two checks for expired leases."""

_HOUR_S = 3600.0

POLICY = RetryPolicy(
    max_attempts=105,
    max_unexpected_attempts=105,
    first_delay_s=5.0,
    max_delay_s=_HOUR_S,
)
"""Delays from 5 s to an hour, of which up to half is left out at random. 105 attempts take about
three days, so that a receiver that fails on a Friday evening can be repaired on Monday."""

WAITS = ConsumerWaits(idle_s=2.0)
"""The dispatcher wakes the consumer for each new message, so only retries wait for the poll."""

GONE = "http_410"
"""The receiver wants no more messages."""

OVERLOADED = frozenset({"http_429", "http_502", "http_503", "http_504"})
"""Statuses of a receiver that gets too many requests, or of the proxy in front of it."""

MIN_PAUSE_S = 1.0
"""Pause of all deliveries after such a status without Retry-After."""


class Receiver:
    """The program at RESULT_WEBHOOK_URL."""

    def __init__(
        self, url: str, keys: Sequence[bytes], ca_bundle: str = "", timeout_s: float = TIMEOUT_S
    ) -> None:
        self._url = url
        self._keys = keys
        self._timeout_s = timeout_s
        self._client = HttpClient(connections=SLOTS, ca_bundle=ca_bundle, proxies=proxies_for(url))

    def deliver(self, notice: StoredNotice) -> AttemptResult:
        """Send the message once. Failures, such as a time-out, become results and do not raise."""
        body = notice.body.encode()
        now_s = time.time()
        headers = signed_headers(self._keys, notice.message_id, int(now_s), body)
        headers["Content-Type"] = STRUCTURED
        try:
            answer = self._client.request(
                "POST", self._url, headers, body, timeout_s=self._timeout_s, wants_body=False
            )
        except NoAnswer as error:
            return AttemptResult("retry", "no_answer", str(error))
        return read_status(answer.status, answer.headers.get("retry-after", ""), now_s)

    def close(self) -> None:
        self._client.close()


def read_status(status: int, retry_after: str, now_s: float) -> AttemptResult:
    """The result of a delivery that was answered. Only a 2xx status is a success."""
    code = f"http_{status}"
    if 200 <= status < 300:
        return AttemptResult("done", code)
    message = f"the receiver answered {status}"
    if 300 <= status < 400:
        message += "; redirects are not followed, so set RESULT_WEBHOOK_URL to the new address"
    delay_s = _retry_after_s(retry_after, now_s)
    return AttemptResult("retry", code, message, delay_s)


def _retry_after_s(header: str, now_s: float) -> float:
    """The seconds in the header, which may be a number or a date; 0 if it is neither."""
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now_s)
    except (ValueError, OverflowError):
        return 0.0


class OutboxSource:
    """The outbox as the consumer sees it."""

    name = "the outbox"

    def __init__(self, outbox: Outbox, clock: Callable[[], float] = time.monotonic) -> None:
        self._outbox = outbox
        self._clock = clock
        self._requeue_at_s = 0.0
        self._paused_until_s = 0.0
        self._ended = False
        self._failure_log = LogLimit()

    def describe(self, notice: StoredNotice) -> str:
        return f"message {notice.message_id}"

    def claim(self, limit: int) -> Sequence[StoredNotice]:
        now_s = self._clock()
        if self._ended or now_s < self._paused_until_s:
            return ()
        if now_s >= self._requeue_at_s:
            self._requeue_at_s = now_s + REQUEUE_EVERY_S
            self._outbox.requeue_expired()
        return self._outbox.claim(limit, LEASE_S)

    def tries(self, notice: StoredNotice) -> Tries:
        return Tries(notice.attempts, notice.calls)

    def keep_lease(self, notice: StoredNotice) -> AbstractContextManager[None]:
        """Do nothing: the lease is longer than the time-out of a delivery."""
        return nullcontext()

    def finish(self, notice: StoredNotice, result: AttemptResult) -> None:
        self._outbox.delivered(notice)
        if notice.attempts > 1:
            log.info("message %s was delivered at attempt %d", notice.message_id, notice.attempts)

    def retry(self, notice: StoredNotice, result: AttemptResult, delay_s: float) -> None:
        self._slow_down(result)
        # A receiver that is down fails for every waiting message.
        self._failure_log.log(
            log.warning if result.counts else log.info,
            "message %s is sent again in %.1f s: %s",
            notice.message_id,
            delay_s,
            result.message,
        )
        self._outbox.retry(notice, delay_s, result.code, result.message, counts=result.counts)

    def bury(self, notice: StoredNotice, result: AttemptResult) -> None:
        self._slow_down(result)
        self._outbox.bury(notice, result.code, result.message)
        log.error(
            "message %s was given up: %s; after the repair, run: rollcall replay --notices",
            notice.message_id,
            result.message,
        )

    def _slow_down(self, result: AttemptResult) -> None:
        """Pause all deliveries if the receiver is overloaded, and end them if it is gone."""
        if result.code == GONE and not self._ended:
            self._ended = True
            log.error(
                "RESULT_WEBHOOK_URL answered 410 Gone, so no further messages are sent; they wait"
                " in the outbox until the trigger is restarted"
            )
        if result.code in OVERLOADED:
            pause_s = max(MIN_PAUSE_S, min(result.retry_after_s, _HOUR_S))
            self._paused_until_s = max(self._paused_until_s, self._clock() + pause_s)


def build_receiver(settings: Settings) -> Receiver:
    """The receiver that the settings name. Raises SettingsError if its CA cannot be read."""
    bundle = settings.result_webhook_ca_bundle
    if bundle:
        try:
            ssl.create_default_context(cafile=bundle)
        except OSError as error:
            raise SettingsError(f"RESULT_WEBHOOK_CA_BUNDLE {bundle!r}: {error}") from error
    keys = parse_secrets(settings.result_webhook_secret)
    return Receiver(settings.result_webhook_url, keys, bundle)


def build_deliveries(
    outbox: Outbox,
    deliver: Callable[[StoredNotice], AttemptResult],
    policy: RetryPolicy = POLICY,
    waits: ConsumerWaits = WAITS,
) -> Consumer[StoredNotice]:
    """Build the consumer that sends the messages of the outbox."""
    return Consumer(OutboxSource(outbox), deliver, policy, slots=SLOTS, waits=waits)
