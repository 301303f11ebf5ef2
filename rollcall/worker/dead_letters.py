"""Messages that cannot be worked on, kept in a queue with the reason, and put back when asked."""

from __future__ import annotations

import logging
import time

from rollcall.adapters.sqs import SENT_MS, Message, SqsQueue
from rollcall.core.verdict import Verdict
from rollcall.worker.counters import Counters

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 500
REPLAY_VISIBILITY_S = 60


class DeadLetters:
    """Written before the message is deleted: a crash between the two repeats, and loses nothing."""

    def __init__(self, queue: SqsQueue, counters: Counters) -> None:
        self._queue = queue
        self._counters = counters

    def bury(self, message: Message, source: str, verdict: Verdict) -> None:
        """Raises StoreUnavailable or StoreMisconfigured; the message is then still where it was."""
        log.error("dead letter from %s: %s", source, verdict.message)
        reason = _printable(verdict.message) or "no reason given"
        attributes = {"source": source, "code": _printable(verdict.code), "reason": reason}
        self._queue.send(message.body, attributes | _first_sent(message))
        self._counters.add(dead=1)


def replay(dead: SqsQueue, sources: dict[str, SqsQueue]) -> int:
    """Sends every dead letter back to the queue it came from; how many.

    What came from elsewhere stays, and what died meanwhile, which would go round and round.
    Raises StoreUnavailable or StoreMisconfigured.
    """
    count, start_ms = 0, time.time() * 1000
    while messages := dead.receive(10, 0, REPLAY_VISIBILITY_S):
        for message in messages:
            source = sources.get(message.attributes.get("source", ""))
            if source is not None and message.queued_ms <= start_ms:
                source.send(message.body, _first_sent(message))
                dead.delete(message)
                count += 1
    return count


def _first_sent(message: Message) -> dict[str, str]:
    """Goes with it wherever it is sent: an old result does not become a new one."""
    return {SENT_MS: str(message.sent_ms)}


def _printable(text: str) -> str:
    """SQS takes no control characters."""
    return "".join(each if each.isprintable() else " " for each in text[:MAX_REASON_CHARS])
