"""Takes due work from the inbox and calls the function, some calls at once."""

from __future__ import annotations

import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from rollcall.core.errors import INTERNAL, InboxUnavailable
from rollcall.core.retry import (
    BUSY_DELAY_S,
    FEW_ATTEMPTS,
    Verdict,
    backoff_s,
    interrupted,
    limited,
    metric_code,
)
from rollcall.queues.inbox import Inbox, Work
from rollcall.trigger.metrics import Metrics

log = logging.getLogger(__name__)

POLL_S = 0.5
"""How late a retry may start; new work starts at once."""

TAKE_BACK_S = 1.0
"""How late the end of a lease may be noticed."""

RECORD_AGAIN_S = 1.0
"""Between two attempts to record what the function said, while the disk takes nothing."""

LEASE_SLACK_S = 60.0
"""A lease outlives the call's time-out. Should a call outlive even that, its work is claimed again,
and what the late call says is no longer heard (`Inbox` tells claims apart)."""


class Caller(Protocol):
    """Calls the function for one piece of work; never raises for what the network does."""

    def call(self, work: Work) -> Verdict: ...

    def close(self) -> None: ...


class Dispatcher:
    """One thread claims, `max_inflight` threads call."""

    def __init__(
        self,
        inbox: Inbox,
        caller: Caller,
        metrics: Metrics,
        *,
        max_inflight: int,
        max_attempts: int,
        call_timeout_s: float,
    ) -> None:
        self._inbox = inbox
        self._caller = caller
        self._metrics = metrics
        self._max_attempts = max_attempts
        self._lease_s = call_timeout_s + LEASE_SLACK_S
        self._slots = threading.Semaphore(max_inflight)
        self._pool = ThreadPoolExecutor(max_inflight, thread_name_prefix="call")
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._halted = False
        self._take_back_at = 0.0
        self._hold_until = 0.0
        """After a 429, no further calls are made until this time."""
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)
        self._jitter = random.Random()

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Says that there is new work."""
        self._wake.set()

    def halt(self) -> None:
        """Claims nothing more, and returns at once. Safe in a signal handler: takes no lock."""
        self._halted = True

    def stop(self) -> None:
        """Claims nothing more and returns when the calls in flight have ended."""
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
            self._slots.acquire()
            work = self._claim()
            if work is None:
                self._slots.release()
                self._wake.wait(POLL_S)
                self._wake.clear()
            else:
                self._pool.submit(self._handle, work)

    def _claim(self) -> Work | None:
        try:
            if time.monotonic() >= self._take_back_at:
                self._take_back_at = time.monotonic() + TAKE_BACK_S
                self._inbox.requeue_expired()
            if self._halted or time.monotonic() < self._hold_until:
                return None
            return self._inbox.claim(self._lease_s)
        except InboxUnavailable as error:
            log.error("no work can be claimed: %s", error)
            return None

    def _handle(self, work: Work) -> None:
        try:
            started = time.perf_counter()
            verdict = limited(self._call(work), work.attempts, self._max_attempts)
            ms = (time.perf_counter() - started) * 1000
            self._metrics.calls.labels(verdict.outcome, metric_code(verdict.code)).inc()
            self._settle(work, verdict)
            self._log(work, verdict, ms)
        except Exception:
            log.exception("the call for %r failed unexpectedly", work.key)
        finally:
            self._slots.release()
            self.wake()

    def _call(self, work: Work) -> Verdict:
        if verdict := interrupted(work.attempts, self._max_attempts):
            return verdict
        started = time.perf_counter()
        try:
            verdict = self._caller.call(work)
        except Exception:
            log.exception("the call for %r failed unexpectedly", work.key)
            text = "unexpected error in the trigger; see its log"
            verdict = Verdict("retry", INTERNAL, text, max_attempts=FEW_ATTEMPTS)
        self._metrics.call_s.observe(time.perf_counter() - started)
        self._metrics.stale_gallery.set(verdict.stale_gallery)
        return verdict

    def _settle(self, work: Work, verdict: Verdict) -> None:
        """Keeps at it while the disk takes nothing: nothing else could be claimed meanwhile, and to
        forget the answer would cost another call."""
        while True:
            try:
                self._record(work, verdict)
                return
            except InboxUnavailable as error:
                log.error("%r has its answer, which cannot be recorded: %s", work.key, error)
            if self._stopped.wait(RECORD_AGAIN_S):
                log.error("%r is repeated after the next start", work.key)
                return

    def _record(self, work: Work, verdict: Verdict) -> None:
        if verdict.outcome == "done":
            self._inbox.finish(work, verdict.code)
        elif verdict.outcome == "dead":
            self._inbox.bury(work, verdict.code, verdict.message)
        else:
            delay_s = backoff_s(verdict, work.attempts, work.calls, self._jitter)
            level = logging.WARNING if verdict.counts else logging.INFO
            said = (work.key, delay_s, verdict.message, work.work_id)
            log.log(level, "%r again in %.1f s: %s, work %s", *said)
            if not verdict.counts:
                self._hold_until = time.monotonic() + BUSY_DELAY_S
            self._inbox.retry(work, delay_s, verdict.code, verdict.message, counts=verdict.counts)

    def _log(self, work: Work, verdict: Verdict, ms: float) -> None:
        """One line for each finished video, without anybody's name (docs/security.md)."""
        if verdict.outcome == "done":
            found = verdict.outcome_text
            log.info("finished %r: %s, %d ms, work %s", work.key, found, ms, work.work_id)
        elif verdict.outcome == "dead":
            said = (work.id, work.key, verdict.message, ms, work.work_id)
            log.error("dead letter %d: %r: %s, %d ms, work %s", *said)
