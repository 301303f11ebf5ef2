"""Sends the messages about results from the outbox to RESULT_WEBHOOK_URL.

A consumer of its own claims the messages, so a slow receiver does not delay recognition.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rollcall.core.notices import StoredNotice
from rollcall.core.queue_protocols import Outbox
from rollcall.core.retry import AttemptResult, RetryPolicy
from rollcall.core.settings import Settings
from rollcall.core.work import Notice, Work
from rollcall.logs import LogLimit
from rollcall.queues.consumer import Consumer, ConsumerWaits, Tries
from rollcall.trigger.result_notices import ResultNotices
from rollcall.trigger.webhook import CONNECTIONS, TIMEOUT_S, Receiver, build_receiver

log = logging.getLogger(__name__)

LEASE_S = TIMEOUT_S + 40.0
"""How long a claimed message belongs to one trigger. If the trigger dies during the delivery, the
delivery is repeated after this time. The 40 s are for the look-up of the host's name, which the
time-out does not limit."""

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


class OutboxSource:
    """The outbox as the consumer sees it."""

    name = "the outbox"

    def __init__(self, outbox: Outbox, clock: Callable[[], float] = time.monotonic) -> None:
        self._outbox = outbox
        self._clock = clock
        self._requeue_at_s = 0.0
        self._paused_until_s = 0.0
        self._ended = False
        # A receiver that is down fails for every waiting message.
        self._retry_log, self._dead_log = LogLimit(), LogLimit()

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
        self._retry_log.log(
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
        self._dead_log.log(
            log.error,
            "dead letter %d: message %s: %s; to send it again, run: rollcall replay --notices",
            notice.id,
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


class ResultWebhook:
    """The part of the trigger that sends messages about results."""

    def __init__(
        self,
        notices: ResultNotices,
        outbox: Outbox,
        receiver: Receiver,
        *,
        policy: RetryPolicy = POLICY,
        waits: ConsumerWaits = WAITS,
    ) -> None:
        self._notices = notices
        self._outbox = outbox
        self._receiver = receiver
        source = OutboxSource(outbox)
        self._consumer: Consumer[StoredNotice] = Consumer(
            source, receiver.deliver, policy, slots=CONNECTIONS, waits=waits
        )

    def write(self, work: Work, result: AttemptResult) -> Notice | None:
        """The message about work that has ended; None if there is nothing to report."""
        return self._notices.write(work, result)

    def write_given_up(self, work: Work) -> Notice | None:
        """The message about a dead letter for which no call was made."""
        return self.write(work, AttemptResult("dead", work.code, work.message))

    def wake(self) -> None:
        """Look for new messages now."""
        self._consumer.wake()

    def start(self) -> None:
        # Only this process uses such an outbox, and it is not sending anything yet.
        if not self._outbox.shared:
            self._outbox.requeue_expired(everything=True)
        self._consumer.start()

    def halt(self) -> None:
        """Begin no further delivery. Safe in a signal handler."""
        self._consumer.halt()

    def stop(self) -> None:
        """Halt, and return when the deliveries in progress have ended."""
        self._consumer.stop()
        self._receiver.close()


def build_result_webhook(settings: Settings, outbox: Outbox) -> ResultWebhook | None:
    """The sender that the settings describe; None if RESULT_WEBHOOK_URL is empty."""
    if not settings.result_webhook_url:
        return None
    notices = ResultNotices(settings.report_bucket)
    return ResultWebhook(notices, outbox, build_receiver(settings))
