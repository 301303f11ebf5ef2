"""Keeps messages invisible to other workers while they are worked on."""

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
"""Leases that are extended at the same time, so that one slow extension does not delay others."""


class Leases:
    """Extends the lease of every held message, three times in each visibility time-out.

    If the queue does not answer for a whole time-out, another worker gets the message too. That
    repeats the work, and the result is the same.
    """

    def __init__(self, queue: SqsQueue, visibility_s: int) -> None:
        self._queue = queue
        self.visibility_s = visibility_s
        self._held: dict[threading.Lock, Message] = {}
        """The held messages. The key is a lock that is taken while the message's lease is extended,
        and while the message is released."""
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
        """Extend the lease of the message until the block ends, and never after that."""
        message_lock = threading.Lock()
        with self._lock:
            self._held[message_lock] = message
        try:
            yield
        finally:
            # Taking the lock waits for a running extension. Otherwise the extension could arrive
            # after the message was put back, and hide it again.
            with message_lock, self._lock:
                del self._held[message_lock]

    def _run(self) -> None:
        while not self._stopped.wait(self.visibility_s / 3):
            with self._lock:
                held = list(self._held.items())
            for message_lock, message in held:
                self._pool.submit(self._extend, message_lock, message)

    def _extend(self, message_lock: threading.Lock, message: Message) -> None:
        # If the lock is taken, an earlier extension still runs, or the message is being released.
        if not message_lock.acquire(blocking=False):
            return
        try:
            if message_lock in self._held:
                self._queue.change_visibility(message, self.visibility_s)
        except RollcallError as error:
            log.warning("cannot extend a lease; another worker may get the message: %s", error)
        except Exception:
            log.exception("cannot extend a lease; another worker may get the message")
        finally:
            message_lock.release()
