"""The execution environments of one function: as many as run at once, started when needed."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from devstack.lambda_environment import Environment, LocalFunction, Outcome

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """By the names of Lambda's metrics."""

    invocations: int = 0
    """Runs of the handler, repeats included."""
    errors: int = 0
    throttles: int = 0
    concurrent_executions: int = 0
    """Right now."""
    max_concurrent_executions: int = 0
    dead_letters: int = 0
    """Asynchronous invocations that were given up."""


class TooManyRequests(Exception):
    """All environments are busy."""


class EnvironmentPool:
    """Safe for threads."""

    def __init__(self, function: LocalFunction) -> None:
        self._function = function
        self._changed = threading.Condition()
        self._idle: list[Environment] = []
        self._busy: list[Environment] = []
        self._counts = Counts()
        self._started = 0
        self._closed = False
        # A child is told when the thread that started it ends (see processes.py), so one thread
        # starts them all and stays; that of a request would take its environment along.
        self._starter = ThreadPoolExecutor(1, "lambda-starter")

    def run(self, payload: bytes, *, patient: bool = False) -> Outcome:
        """Raises TooManyRequests at the limit, unless it is patient and waits for its turn."""
        self._enter(patient)
        environment = None
        outcome = Outcome(b"", "Unhandled")
        try:
            environment = self._warm() or self._cold()
            outcome = environment.run(payload)
            return outcome
        finally:
            self._leave(environment, failed=bool(outcome.function_error))

    def counts(self) -> dict[str, int]:
        with self._changed:
            return asdict(self._counts)

    def count_dead_letter(self) -> None:
        with self._changed:
            self._counts.dead_letters += 1

    def busy_pids(self) -> list[int]:
        """Of the processes that work on an invocation now."""
        with self._changed:
            return [environment.pid for environment in self._busy]

    def close(self) -> None:
        """Busy ones are stopped too, and their callers get an error."""
        with self._changed:
            self._closed = True
            environments = self._idle + self._busy
            self._idle = []
        for environment in environments:
            environment.stop()
        self._starter.shutdown()

    def _enter(self, patient: bool) -> None:
        counts, most = self._counts, self._function.concurrency
        with self._changed:
            if counts.concurrent_executions >= most and not patient:
                counts.throttles += 1
                raise TooManyRequests
            self._changed.wait_for(lambda: counts.concurrent_executions < most)
            counts.invocations += 1
            counts.concurrent_executions += 1
            highest = max(counts.max_concurrent_executions, counts.concurrent_executions)
            counts.max_concurrent_executions = highest

    def _leave(self, environment: Environment | None, *, failed: bool) -> None:
        with self._changed:
            if environment:
                self._busy.remove(environment)
                if environment.usable():
                    self._idle.append(environment)
            self._counts.errors += failed
            self._counts.concurrent_executions -= 1
            self._changed.notify_all()
        if environment and not environment.usable():
            environment.stop()

    def _warm(self) -> Environment | None:
        """The one used last; one that died in its sleep is left out."""
        while True:
            with self._changed:
                environment = self._idle.pop() if self._idle else None
                if environment is None or environment.usable():
                    self._busy.extend(filter(None, (environment,)))
                    return environment
            log.warning("an idle environment of %s is gone", self._function.name)
            environment.stop()

    def _cold(self) -> Environment:
        with self._changed:
            self._started += 1
            number = self._started
        environment = self._starter.submit(Environment, self._function, number).result()
        with self._changed:
            if not self._closed:
                self._busy.append(environment)
                return environment
        environment.stop()
        raise RuntimeError(f"{self._function.name} was closed")
