"""Dead letters: messages that cannot be processed, kept with the reason and replayed on demand."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping

from rollcall.core.errors import StoreMisconfigured
from rollcall.core.result_messages import MAX_MESSAGE_BYTES
from rollcall.core.retry import AttemptResult
from rollcall.stores.sqs import SENT_MS, Message, SqsQueue, too_long
from rollcall.worker.counters import Counters

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 500
"""Limit on the length of the reason: attributes count towards the size of a message."""

REPLAY_VISIBILITY_S = 60
"""How long a dead letter stays invisible once a replay has received it. A dead letter that the
replay leaves in the queue is not received again before that."""

REPLAY_POLL_S = 2

EMPTY_ANSWERS = 2
"""A replay ends after this number of empty answers in a row. One is not enough: SQS spreads a queue
over several servers and may answer from one that has none of its messages."""

CLOCK_MARGIN_MS = 15 * 60_000
"""Largest possible difference between our clock and the queue's. AWS rejects signed requests whose
time differs by more."""

REPLAY = "replay"
"""Attribute with the id of the replay that put a message back. It is kept when the message becomes
a dead letter again."""

MAX_REPLAY_ID_CHARS = 32
"""Length of our replay ids. An attribute of that name from another sender may be longer, and is cut
to this length."""

SHORTENED = "shortened_from"
"""Attribute of a dead letter whose body had to be cut: the number of bytes of the whole body."""


class DeadLetters:
    """The queue of dead letters.

    A message is sent to this queue before it is deleted from its own queue. So a crash between the
    two steps repeats the work, and loses nothing.
    """

    def __init__(self, queue: SqsQueue, counters: Counters) -> None:
        self._queue = queue
        self._counters = counters

    def bury(self, message: Message, source: str, result: AttemptResult) -> None:
        """Send a message of the queue `source` to the dead letters, with the result's reason.

        Raises StoreUnavailable or StoreMisconfigured. The message stays in its own queue in any
        case; the caller deletes it there.
        """
        log.error("dead letter from %s: %s", source, result.message)
        reason = _printable(result.message) or "no reason given"
        attributes = {"source": source, "code": _printable(result.code), "reason": reason}
        self._send(message, attributes | _history(message))
        self._counters.add(dead=1)

    def _send(self, message: Message, attributes: Mapping[str, str]) -> None:
        attributes = {name: text for name, text in attributes.items() if text}
        body = message.body.encode()
        try:
            self._queue.send(message.body, attributes)
        except StoreMisconfigured as error:
            if not too_long(error) or len(body) <= MAX_MESSAGE_BYTES:
                raise
            # The attributes made the message longer than the queue allows. A dead letter with part
            # of the body is better than a message that is delivered again and again.
            log.error("the body is cut to %d bytes: %s", MAX_MESSAGE_BYTES, error)
            part = body[:MAX_MESSAGE_BYTES].decode(errors="ignore")
            self._queue.send(part, attributes | {SHORTENED: str(len(body))})


def replay(
    dead: SqsQueue, sources: Mapping[str, SqsQueue], clock: Callable[[], float] = time.time
) -> int:
    """Send dead letters back to the queues that they came from; return how many were sent.

    `sources` are the possible queues by name. Dead letters from other queues stay, and so do those
    with a shortened body, which could not be processed. `clock` returns the Unix time. Raises
    StoreUnavailable or StoreMisconfigured.
    """
    replay_id = uuid.uuid4().hex
    # A message may become a dead letter again during this replay. It is not replayed a second time,
    # because it has the id of this replay. Dead letters that are much newer than the start of the
    # replay are not counted as messages, so that they cannot keep it going.
    until_ms = clock() * 1000 + CLOCK_MARGIN_MS
    count, empty_answers = 0, 0
    while empty_answers < EMPTY_ANSWERS:
        received = dead.receive(10, REPLAY_POLL_S, REPLAY_VISIBILITY_S)
        messages = [message for message in received if message.queued_ms <= until_ms]
        empty_answers = 0 if messages else empty_answers + 1
        for message in messages:
            source = sources.get(message.attributes.get("source", ""))
            if source is not None and _can_be_replayed(message, replay_id):
                source.send(message.body, _history(message) | {REPLAY: replay_id})
                dead.delete(message)
                count += 1
    return count


def _can_be_replayed(message: Message, replay_id: str) -> bool:
    attributes = message.attributes
    return SHORTENED not in attributes and attributes.get(REPLAY) != replay_id


def _history(message: Message) -> dict[str, str]:
    """Return the attributes that a message keeps wherever it is sent.

    One is the time at which it was first sent, so that a replayed result does not count as new.
    """
    replay_id = message.attributes.get(REPLAY, "")[:MAX_REPLAY_ID_CHARS]
    return {SENT_MS: str(message.sent_ms), REPLAY: replay_id}


def _printable(text: str) -> str:
    """Replace characters that SQS does not accept, and cut the text."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_REASON_CHARS])
