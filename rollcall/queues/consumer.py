"""The loop that claims items from a queue, handles several at once, and settles each of them.

The trigger runs it on its work queue, and the OpenStack worker on queues in SQS. `WorkSource` hides
the differences between the two.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, TypeVar

from rollcall.core.errors import RollcallError, UnexpectedError
from rollcall.core.retry import STOPPING, AttemptResult, RetryPolicy

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Tries(NamedTuple):
    """How often an item was claimed, including this time."""

    attempts: int
    """Claims that count towards `RetryPolicy.max_attempts`."""
    calls: int
    """All claims, including those that ended with a busy answer or a shutdown."""


class WorkSource(Protocol[Item]):
    """A queue as the consumer sees it. Methods that access the queue may raise RollcallError."""

    name: str
    """The queue's name in log lines."""

    def describe(self, item: Item) -> str:
        """Return the item's name for log lines."""
        ...

    def claim(self, limit: int) -> Sequence[Item]:
        """Lease at most `limit` items. May wait a few seconds for the first one."""
        ...

    def tries(self, item: Item) -> Tries: ...

    def keep_lease(self, item: Item) -> AbstractContextManager[None]:
        """Keep the item leased until the block ends, however long that takes."""
        ...

    def finish(self, item: Item, result: AttemptResult) -> None: ...

    def retry(self, item: Item, result: AttemptResult, delay_s: float) -> None:
        """Put the item back into the queue; it may be claimed again after `delay_s`."""
        ...

    def bury(self, item: Item, result: AttemptResult) -> None:
        """Make the item a dead letter."""
        ...


@dataclass(frozen=True, slots=True)
class ConsumerWaits:
    """How long a consumer waits between two steps of its loop."""

    idle_s: float = 0.5
    """Mean pause after a claim that found nothing, unless `wake` ends it. A retry that becomes due
    may start later by this much. 0 if `claim` itself waits for items."""
    after_error_s: float = 0.5
    """Pause after a claim that failed."""
    after_busy_s: float = 1.0
    """Pause after a busy answer, because the function is then busy for every item."""
    settle_again_s: float | None = 1.0
    """Pause before the next attempt to record a result that the queue could not store. None: there
    is only one attempt, and the item is handled again when its lease ends."""


GATHER_S = 0.006
"""How long a claim waits for further free slots if the last claim returned several items. Claiming
many items costs little more CPU time than claiming one (docs/decisions/0115)."""

DEFAULT_WAITS = ConsumerWaits()


class Consumer(Generic[Item]):
    """Claims items from a source in one thread, and handles them in up to `slots` threads.

    `handle` returns the result of an attempt; an exception counts as an unexpected error.
    `on_result` is called once for each result, before the result is recorded. `about` is entered
    while an item is handled and settled, to name the item in log lines.
    """

    def __init__(
        self,
        source: WorkSource[Item],
        handle: Callable[[Item], AttemptResult],
        policy: RetryPolicy,
        *,
        slots: int,
        waits: ConsumerWaits = DEFAULT_WAITS,
        on_result: Callable[[AttemptResult], None] = lambda result: None,
        about: Callable[[Item], AbstractContextManager[None]] = lambda item: nullcontext(),
    ) -> None:
        self._source = source
        self._handle = handle
        self._policy = policy
        self._waits = waits
        self._on_result = on_result
        self._about = about
        self._free = threading.Semaphore(slots)
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix=f"handle {source.name}")
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._halted = False
        self._claimed = 0
        """Number of items in the last claim."""
        self._paused_until = 0.0
        """No claim before this time, in seconds of `time.monotonic`."""
        self._thread = threading.Thread(target=self._run, name=f"claim {source.name}", daemon=True)
        self._jitter = random.Random()

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """End the pause after an empty claim, because there is new work."""
        self._wake.set()

    def halt(self) -> None:
        """Claim nothing more, and return at once. Safe in a signal handler: takes no lock."""
        self._halted = True

    def stop(self) -> None:
        """Claim nothing more, and return when no claimed item is being handled any more.

        A result that the queue cannot store by then is dropped.
        """
        self.halt()
        self._stopped.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True)

    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._halted:
            slots = self._take_free_slots()
            items = self._claim(slots)
            self._claimed = len(items)
            for item in items:
                self._pool.submit(self._work_on, item)
            if len(items) < slots:
                self._free.release(slots - len(items))
            if not items:
                # The jitter keeps several triggers from polling in step.
                idle_s = self._waits.idle_s * self._jitter.uniform(0.75, 1.25)
                self._wake.wait(max(idle_s, self._paused_until - time.monotonic()))
                self._wake.clear()

    def _take_free_slots(self) -> int:
        """Wait until a slot is free, take all free slots, and return their number.

        A slot is room for one item that is being handled.
        """
        self._free.acquire()
        if self._claimed > 1:
            self._stopped.wait(GATHER_S)
        taken = 1
        while self._free.acquire(blocking=False):
            taken += 1
        return taken

    def _claim(self, limit: int) -> Sequence[Item]:
        # The consumer may be stopped while this thread waits for a slot. Items claimed after that
        # would only be given back, and in SQS each claim uses up an attempt.
        if self._halted or time.monotonic() < self._paused_until:
            return ()
        try:
            return self._source.claim(limit)
        except RollcallError as error:
            log.error("cannot claim work from %s: %s", self._source.name, error)
            self._paused_until = time.monotonic() + self._waits.after_error_s
            return ()

    def _work_on(self, item: Item) -> None:
        with self._about(item):
            self._work(item)

    def _work(self, item: Item) -> None:
        try:
            attempts, calls = self._source.tries(item)
            with self._source.keep_lease(item):
                result = self._policy.limit(self._attempt(item, attempts), attempts)
            if not result.counts:
                self._paused_until = time.monotonic() + self._waits.after_busy_s
            self._on_result(result)
            self._settle(item, result, self._policy.delay_s(result, attempts, calls, self._jitter))
        except Exception:
            log.exception("%s failed unexpectedly", self._source.describe(item))
        finally:
            self._free.release()
            self.wake()

    def _attempt(self, item: Item, attempts: int) -> AttemptResult:
        if self._halted:
            return STOPPING
        if interrupted := self._policy.check_interrupted(attempts):
            return interrupted
        started_s = time.perf_counter()
        try:
            result = self._handle(item)
        except Exception:
            log.exception("%s failed unexpectedly", self._source.describe(item))
            message = "unexpected error in the program that handled this work; see its log"
            result = AttemptResult("retry", UnexpectedError.code, message, unexpected=True)
        return replace(result, elapsed_s=time.perf_counter() - started_s)

    def _settle(self, item: Item, result: AttemptResult, delay_s: float) -> None:
        """Record the result. If the queue cannot store it, try again every `settle_again_s`."""
        # Without the result, the function would be called again. This slot loses no time by
        # waiting: a queue that cannot store a result cannot hand out work either.
        while True:
            try:
                self._record(item, result, delay_s)
                return
            except RollcallError as error:
                log.error(
                    "the result of %s cannot be recorded: %s", self._source.describe(item), error
                )
            again_s = self._waits.settle_again_s
            if again_s is None or self._stopped.wait(again_s):
                log.error(
                    "%s will be handled again: its result was not recorded",
                    self._source.describe(item),
                )
                return

    def _record(self, item: Item, result: AttemptResult, delay_s: float) -> None:
        if result.outcome == "done":
            self._source.finish(item, result)
        elif result.outcome == "dead":
            self._source.bury(item, result)
        else:
            self._source.retry(item, result, delay_s)
