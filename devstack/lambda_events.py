"""Asynchronous invocations: tried again twice, then a dead letter.

The queue is in memory, where Lambda's is durable: what waits when this process ends is told as a
dead letter then.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from devstack.lambda_environment import LocalFunction, Outcome
from devstack.lambda_pool import EnvironmentPool

log = logging.getLogger(__name__)

RETRY_WAITS_S = (60.0, 120.0)
"""As Lambda waits ("How Lambda handles errors and retries with asynchronous invocation")."""


@dataclass(slots=True)
class _Event:
    payload: bytes
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    attempts: int = 0
    outcome: Outcome = field(default_factory=lambda: Outcome(b"null"))


class EventQueue:
    """Runs events in the background. Dead letters are lines of `NAME-dead-letters.jsonl`, in the
    form of Lambda's on-failure destination."""

    def __init__(
        self,
        function: LocalFunction,
        pool: EnvironmentPool,
        waits_s: Sequence[float] = RETRY_WAITS_S,
    ) -> None:
        self._function = function
        self._pool = pool
        self._waits_s = waits_s
        self._workers = ThreadPoolExecutor(function.concurrency, "lambda-events")
        self._lock = threading.Lock()
        self._open: dict[str, _Event] = {}
        self._timers: dict[str, threading.Timer] = {}
        self._closed = False
        self.dead_letters = function.logs / f"{function.name}-dead-letters.jsonl"

    def put(self, payload: bytes) -> str:
        """Its request id."""
        event = _Event(payload)
        with self._lock:
            self._open[event.request_id] = event
        self._workers.submit(self._attempt, event)
        return event.request_id

    def close(self) -> None:
        """Nothing waits any more; the pool has to be closed first, so that nothing runs."""
        with self._lock:
            self._closed = True
            timers, self._timers = list(self._timers.values()), {}
        for timer in timers:
            timer.cancel()
        self._workers.shutdown(cancel_futures=True)
        for event in list(self._open.values()):
            self._bury(event, "EventAgeExceeded")

    def _attempt(self, event: _Event) -> None:
        try:
            event.attempts += 1
            event.outcome = self._pool.run(event.payload, patient=True)
        except Exception:
            log.exception("an event of %s could not be run", self._function.name)
            event.outcome = Outcome(b"null", "Unhandled")
        self._settle(event)

    def _settle(self, event: _Event) -> None:
        if not event.outcome.function_error:
            with self._lock:
                self._open.pop(event.request_id, None)
        elif event.attempts > len(self._waits_s):
            self._bury(event, "RetriesExhausted")
        else:
            self._try_again(event, self._waits_s[event.attempts - 1])

    def _try_again(self, event: _Event, wait_s: float) -> None:
        timer = threading.Timer(wait_s, self._again, [event])
        with self._lock:
            if not self._closed:
                self._timers[event.request_id] = timer
                timer.start()

    def _again(self, event: _Event) -> None:
        with self._lock:
            if self._timers.pop(event.request_id, None):
                self._workers.submit(self._attempt, event)

    def _bury(self, event: _Event, condition: str) -> None:
        with self._lock:
            if not self._open.pop(event.request_id, None):
                return
            with open(self.dead_letters, "a", encoding="utf-8") as file:
                file.write(json.dumps(self._record(event, condition)) + "\n")
        self._pool.count_dead_letter()
        log.error(
            "event %s of %s is dead (%s); see %s",
            event.request_id,
            self._function.name,
            condition,
            self.dead_letters,
        )

    def _record(self, event: _Event, condition: str) -> dict[str, Any]:
        return {
            "version": "1.0",
            "timestamp": datetime.now(UTC).isoformat(),
            "requestContext": {
                "requestId": event.request_id,
                "functionArn": self._function.arn,
                "condition": condition,
                "approximateInvokeCount": event.attempts,
            },
            "requestPayload": json.loads(event.payload),
            "responseContext": {"functionError": event.outcome.function_error},
            "responsePayload": event.outcome.payload.decode(errors="replace"),
        }
