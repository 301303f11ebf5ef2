"""Keeps the messages that are worked on invisible to others, for as long as that takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rollcall.adapters.sqs import Message, SqsQueue
from rollcall.core.errors import RollcallError

log = logging.getLogger(__name__)


class Leases:
    """One thread extends every message in hand, three times in each visibility time-out.

    Should the queue not answer for that long, others get the message too: a duplicate, harmless.
    """

    def __init__(self, queue: SqsQueue, visibility_s: int) -> None:
        self._queue = queue
        self.visibility_s = visibility_s
        self._held: dict[str, Message] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"leases {queue.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    @contextmanager
    def held(self, message: Message) -> Iterator[None]:
        """Extends the message until the end of the block, and not after it."""
        with self._lock:
            self._held[message.receipt] = message
        try:
            yield
        finally:
            with self._lock:
                del self._held[message.receipt]

    def _run(self) -> None:
        while not self._stopped.wait(self.visibility_s / 3):
            with self._lock:
                held = list(self._held.values())
            for message in held:
                self._extend(message)

    def _extend(self, message: Message) -> None:
        """Under the lock, so that what is given back meanwhile is not taken again."""
        with self._lock:
            if message.receipt not in self._held:
                return
            try:
                self._queue.hold(message, self.visibility_s)
            except RollcallError as error:
                log.warning("others may get a message that is worked on: %s", error)
