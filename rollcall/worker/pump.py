"""Takes messages from one queue and works on several at once; what a verdict means for each."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rollcall.core.errors import RollcallError
from rollcall.core.retry import FEW_ATTEMPTS, Verdict, backoff_s, interrupted, limited
from rollcall.stores.sqs import MAX_AT_ONCE, Message, SqsQueue
from rollcall.worker.dead_letters import DeadLetters
from rollcall.worker.leases import Leases

log = logging.getLogger(__name__)

POLL_S = 5
"""One long poll; a stop waits for its end. Two queues make a million requests a month; SQS allows
20 s, at a quarter of them."""

PAUSE_S = 5.0
"""After the queue did not answer."""

Handle = Callable[[Message], Verdict]


class Pump:
    """One thread polls, `slots` threads call `handle`. A message goes only when its work is done,
    or when it lies among the dead letters."""

    def __init__(
        self,
        queue: SqsQueue,
        handle: Handle,
        dead_letters: DeadLetters,
        *,
        slots: int,
        max_attempts: int,
        visibility_s: int,
    ) -> None:
        self._queue = queue
        self._handle = handle
        self._dead_letters = dead_letters
        self._max_attempts = max_attempts
        self._leases = Leases(queue, visibility_s)
        self._slots = threading.Semaphore(slots)
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix=queue.name)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"poll {queue.name}", daemon=True)
        self._jitter = random.Random()

    def start(self) -> None:
        self._leases.start()
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def no_more(self) -> None:
        """Takes nothing new from now on."""
        self._stopping.set()

    def join(self) -> None:
        """Returns when everything in hand has ended."""
        self._thread.join()
        self._pool.shutdown(wait=True)
        self._leases.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            free = self._free_slots()
            if self._stopping.is_set():  # while it waited; a poll would count as a delivery
                return
            messages = self._receive(free)
            if len(messages) < free:
                self._slots.release(free - len(messages))
            for message in messages:
                self._pool.submit(self._work, message)

    def _free_slots(self) -> int:
        """Waits for one, and takes all that are free."""
        self._slots.acquire()
        taken = 1
        while taken < MAX_AT_ONCE and self._slots.acquire(blocking=False):
            taken += 1
        return taken

    def _receive(self, most: int) -> list[Message]:
        try:
            return self._queue.receive(most, POLL_S, self._leases.visibility_s)
        except RollcallError as error:
            log.error("nothing can be taken from %s: %s", self._queue.name, error)
            self._stopping.wait(PAUSE_S)
            return []

    def _work(self, message: Message) -> None:
        try:
            with self._leases.held(message):
                verdict = self._judged(message)
            self._settle(message, verdict)
        except RollcallError as error:
            log.error("a message of %s comes again: %s", self._queue.name, error)
        except Exception:
            log.exception("a message of %s failed unexpectedly", self._queue.name)
        finally:
            self._slots.release()

    def _judged(self, message: Message) -> Verdict:
        """A busy function is asked again with the message in hand: what the queue counts are
        deliveries, and being busy uses up no attempt."""
        if self._stopping.is_set():
            return Verdict("retry", "stopping", "the worker stops", counts=False)
        if verdict := interrupted(message.deliveries, self._max_attempts):
            return verdict
        verdict, calls = self._handled(message), 1
        while not verdict.counts:
            if self._stopping.wait(backoff_s(verdict, message.deliveries, calls, self._jitter)):
                return verdict
            verdict, calls = self._handled(message), calls + 1
        return limited(verdict, message.deliveries, self._max_attempts)

    def _handled(self, message: Message) -> Verdict:
        try:
            return self._handle(message)
        except Exception:
            log.exception("a message of %s failed unexpectedly", self._queue.name)
            text = "unexpected error; see the worker's log"
            return Verdict("retry", "internal", text, max_attempts=FEW_ATTEMPTS)

    def _settle(self, message: Message, verdict: Verdict) -> None:
        if verdict.outcome == "retry":
            self._put_back(message, verdict)
            return
        if verdict.outcome == "dead":
            self._dead_letters.bury(message, self._queue.name, verdict)
        self._queue.delete(message)

    def _put_back(self, message: Message, verdict: Verdict) -> None:
        """A call that a shutdown interrupted does not count as an attempt: another worker may take
        it at once."""
        delay_s = 0.0
        if verdict.counts:
            delay_s = backoff_s(verdict, message.deliveries, 1, self._jitter)
            log.warning("again in %.1f s: %s", delay_s, verdict.message)
        self._queue.change_visibility(message, round(delay_s))
