"""A queue in SQS as the consumer sees it: long polls, extended leases, a queue of dead letters."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager

from rollcall.core.retry import AttemptResult
from rollcall.queues.consumer import ConsumerWaits, Tries
from rollcall.stores.sqs import Message, SqsQueue
from rollcall.worker.dead_letters import DeadLetters
from rollcall.worker.leases import Leases

log = logging.getLogger(__name__)

POLL_S = 5
"""Length of a long poll in seconds. A worker that is stopped waits for its polls to end. Polling
two queues makes a million requests a month at 5 s, and a quarter of that at 20 s, the most that SQS
allows."""

QUEUE_WAITS = ConsumerWaits(idle_s=0.0, after_error_s=5.0, settle_again_s=None)
"""No idle pause, because a long poll waits for messages. If SQS cannot delete a message or put it
back, the result is dropped: the message is delivered again anyway, and gives the same result."""


class QueueSource:
    """Deletes a message only after its work is done, or after it was sent to the dead letters."""

    def __init__(
        self, queue: SqsQueue, dead_letters: DeadLetters, visibility_s: int, poll_s: int = POLL_S
    ) -> None:
        self.name = queue.name
        self._queue = queue
        self._dead_letters = dead_letters
        self._poll_s = poll_s
        self._leases = Leases(queue, visibility_s)

    def start(self) -> None:
        """Start the threads that extend leases."""
        self._leases.start()

    def close(self) -> None:
        """Stop the threads that extend leases. The consumer must have settled every message."""
        self._leases.stop()

    def describe(self, message: Message) -> str:
        return f"a message of {self.name}"

    def claim(self, limit: int) -> Sequence[Message]:
        return self._queue.receive(limit, self._poll_s, self._leases.visibility_s)

    def tries(self, message: Message) -> Tries:
        """Return the number of deliveries for both numbers, because SQS counts nothing else."""
        return Tries(message.deliveries, message.deliveries)

    def keep_lease(self, message: Message) -> AbstractContextManager[None]:
        return self._leases.held(message)

    def finish(self, message: Message, result: AttemptResult) -> None:
        self._queue.delete(message)

    def retry(self, message: Message, result: AttemptResult, delay_s: float) -> None:
        if result.counts:
            log.warning(
                "a message of %s is retried in %.1f s: %s", self.name, delay_s, result.message
            )
        else:
            # Only a shutdown leads here, because the invoker itself waits for a busy function.
            # Another worker may receive the message at once.
            delay_s = 0.0
        self._queue.change_visibility(message, round(delay_s))

    def bury(self, message: Message, result: AttemptResult) -> None:
        self._dead_letters.bury(message, self.name, result)
        self._queue.delete(message)
