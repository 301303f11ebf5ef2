"""The execution environments of one function. A new one is started if all others are busy."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from devstack.lambda_environment import Environment, LocalFunction, Outcome

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """Counts of invocations, named like Lambda's metrics."""

    invocations: int = 0
    """Accepted invocations, as opposed to throttled ones."""
    errors: int = 0
    throttles: int = 0
    concurrent_executions: int = 0
    """Invocations that are running now."""
    max_concurrent_executions: int = 0


class TooManyRequests(Exception):
    """The function is already running as many invocations as its concurrency allows."""


class EnvironmentPool:
    """A thread-safe pool of execution environments."""

    def __init__(self, function: LocalFunction) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._idle: list[Environment] = []
        self._busy: list[Environment] = []
        self._counts = Counts()
        self._started = 0
        self._closed = False
        # Linux kills a child when the thread that started it ends (see processes.py). The thread of
        # a request would end too early, so one long-lived thread starts all environments.
        self._starter = ThreadPoolExecutor(1, "lambda-starter")

    def run(self, payload: bytes) -> Outcome:
        """Run one invocation. Raises TooManyRequests if the concurrency is used up."""
        self._enter()
        environment = None
        outcome = Outcome(b"", "Unhandled")
        try:
            environment = self._warm() or self._cold()
            outcome = environment.run(payload)
            return outcome
        finally:
            self._leave(environment, failed=bool(outcome.function_error))

    def counts(self) -> dict[str, int]:
        with self._lock:
            return asdict(self._counts)

    def busy_pids(self) -> list[int]:
        """Return the process ids of the environments that are running an invocation."""
        with self._lock:
            return [environment.pid for environment in self._busy]

    def close(self) -> None:
        """Stop all environments. Calls that are running get an error."""
        with self._lock:
            self._closed = True
            environments = self._idle + self._busy
            self._idle = []
        for environment in environments:
            environment.stop()
        self._starter.shutdown()

    def _enter(self) -> None:
        counts = self._counts
        with self._lock:
            if counts.concurrent_executions >= self._function.concurrency:
                counts.throttles += 1
                raise TooManyRequests
            counts.invocations += 1
            counts.concurrent_executions += 1
            highest = max(counts.max_concurrent_executions, counts.concurrent_executions)
            counts.max_concurrent_executions = highest

    def _leave(self, environment: Environment | None, *, failed: bool) -> None:
        with self._lock:
            if environment:
                self._busy.remove(environment)
                if environment.usable():
                    self._idle.append(environment)
            self._counts.errors += failed
            self._counts.concurrent_executions -= 1
        if environment and not environment.usable():
            environment.stop()

    def _warm(self) -> Environment | None:
        """Return the idle environment that was used last, or None. Removes dead environments."""
        while True:
            with self._lock:
                environment = self._idle.pop() if self._idle else None
                if environment is None:
                    return None
                if environment.usable():
                    self._busy.append(environment)
                    return environment
            log.warning("an idle environment of %s has died", self._function.name)
            environment.stop()

    def _cold(self) -> Environment:
        with self._lock:
            self._started += 1
            number = self._started
        environment = self._starter.submit(Environment, self._function, number).result()
        with self._lock:
            if not self._closed:
                self._busy.append(environment)
                return environment
        environment.stop()
        raise RuntimeError(f"the local Lambda of {self._function.name} was closed")
