"""Keeps the messages that are worked on invisible to others, for as long as that takes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from rollcall.core.errors import RollcallError
from rollcall.stores.sqs import Message, SqsQueue

log = logging.getLogger(__name__)

EXTENDERS = 4
"""Extensions at once: one that gets no answer holds up no other message's."""


class Leases:
    """Extends every message in hand, three times in each visibility time-out.

    Should the queue not answer for that long, others get the message too: a duplicate, harmless.
    """

    def __init__(self, queue: SqsQueue, visibility_s: int) -> None:
        self._queue = queue
        self.visibility_s = visibility_s
        self._held: dict[threading.Lock, Message] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(EXTENDERS, thread_name_prefix=f"extend {queue.name}")
        self._thread = threading.Thread(target=self._run, name=f"leases {queue.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def held(self, message: Message) -> Iterator[None]:
        """Extends the message until the end of the block, and not after it."""
        own = threading.Lock()
        with self._lock:
            self._held[own] = message
        try:
            yield
        finally:
            with own, self._lock:
                del self._held[own]

    def _run(self) -> None:
        while not self._stopped.wait(self.visibility_s / 3):
            with self._lock:
                held = list(self._held.items())
            for own, message in held:
                self._pool.submit(self._extend, own, message)

    def _extend(self, own: threading.Lock, message: Message) -> None:
        """Under the message's own lock, so that what is given back meanwhile is not taken again.
        Where that is taken, it is being extended, or given back."""
        if not own.acquire(blocking=False):
            return
        try:
            if own in self._held:
                self._queue.change_visibility(message, self.visibility_s)
        except RollcallError as error:
            log.warning("others may get a message that is worked on: %s", error)
        except Exception:
            log.exception("others may get a message that is worked on")
        finally:
            own.release()
