"""Dead letters: messages that cannot be processed, kept with the reason and replayed on demand."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping

from rollcall.core.errors import StoreMisconfigured
from rollcall.core.result_messages import MAX_MESSAGE_BYTES
from rollcall.core.retry import Verdict
from rollcall.stores.sqs import SENT_MS, Message, SqsQueue, too_long
from rollcall.worker.counters import Counters

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 500

REPLAY_VISIBILITY_S = 60
REPLAY_POLL_S = 2
EMPTY_ANSWERS = 2
"""In a row; a queue of many parts may give an empty answer though there is something in it."""

CLOCK_MARGIN_MS = 15 * 60_000
"""More than our clock may differ from that of the queue, which would refuse our signature."""

REPLAY = "replay"
"""Attribute of what was put back: by which replay. It goes along when the message dies again."""

MAX_MARK_CHARS = 32
"""Our attribute prefix. Attributes of other senders may be too long to copy."""

SHORTENED = "shortened_from"
"""Attribute of a body that was too long for its place: how many bytes it had."""


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
        self._send(message, attributes | _history(message))
        self._counters.add(dead=1)

    def _send(self, message: Message, attributes: Mapping[str, str]) -> None:
        """What its own queue took may be too long here, where attributes count as well; better a
        part of it than the whole of it again and again."""
        given = {name: text for name, text in attributes.items() if text}
        body = message.body.encode()
        try:
            self._queue.send(message.body, given)
        except StoreMisconfigured as error:
            if not too_long(error) or len(body) <= MAX_MESSAGE_BYTES:
                raise
            log.error("too long for %s, and shortened: %s", self._queue.name, error)
            part = body[:MAX_MESSAGE_BYTES].decode(errors="ignore")
            self._queue.send(part, given | {SHORTENED: str(len(body))})


def replay(dead: SqsQueue, sources: dict[str, SqsQueue]) -> int:
    """Sends every dead letter back to the queue it came from; how many.

    What came from elsewhere stays, and what was shortened, as it would only die again. Nothing goes
    round and round: what this replay put back stays when it dies again, and so does what comes to
    the dead letters long after it began. Raises StoreUnavailable or StoreMisconfigured.
    """
    own, until_ms = uuid.uuid4().hex, time.time() * 1000 + CLOCK_MARGIN_MS
    count, empty = 0, 0
    while empty < EMPTY_ANSWERS:
        answer = dead.receive(10, REPLAY_POLL_S, REPLAY_VISIBILITY_S)
        messages = [each for each in answer if each.queued_ms <= until_ms]
        empty = 0 if messages else empty + 1
        for message in messages:
            source = sources.get(message.attributes.get("source", ""))
            if source is not None and _may_live(message, own):
                source.send(message.body, _history(message) | {REPLAY: own})
                dead.delete(message)
                count += 1
    return count


def _may_live(message: Message, replay: str) -> bool:
    return SHORTENED not in message.attributes and message.attributes.get(REPLAY) != replay


def _history(message: Message) -> dict[str, str]:
    """Goes with it wherever it is sent: an old result does not become a new one."""
    replayed = message.attributes.get(REPLAY, "")[:MAX_MARK_CHARS]
    return {SENT_MS: str(message.sent_ms), REPLAY: replayed}


def _printable(text: str) -> str:
    """SQS takes no control characters."""
    return "".join(each if each.isprintable() else " " for each in text[:MAX_REASON_CHARS])
