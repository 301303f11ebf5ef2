"""Calls a function that may hang, for requests that may not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from rollcall.core.errors import TransientError

Result = TypeVar("Result")


class TooSlow(TransientError):
    """The call has not ended in time."""


class NotKnown(TransientError):
    """No call has ended recently."""


class SharedCall(Generic[Result]):
    """A function of which one call runs at a time, and whose result all callers share.

    A result is used for `keep_s` seconds. Nobody waits longer than until `wait_s` seconds after the
    call began, so while a call hangs, later callers do not wait at all. A hundred callers cost as
    much as one.
    """

    def __init__(
        self,
        call: Callable[[], Result],
        *,
        keep_s: float,
        wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call = call
        self._keep_s = keep_s
        self._wait_s = wait_s
        self._clock = clock
        self._lock = threading.Lock()
        self._newest: Future[Result] | None = None
        """The call that is running, or ended last."""
        self._ended: Future[Result] | None = None
        """The call that ended last."""
        self._began_s = 0.0
        self._ended_s = 0.0

    def refresh(self) -> None:
        """Begin a call if none is running, and the last result is too old. Does not wait."""
        self._refreshed()

    def result(self) -> Result:
        """The result, or the exception of the call. Raises TooSlow if the call takes too long."""
        future, left_s = self._refreshed()
        try:
            return future.result(timeout=left_s)
        except TimeoutError as error:
            if future.done():  # just in time, or the exception is one of the call itself
                return future.result()
            raise TooSlow(f"no answer within {self._wait_s:g} s") from error

    def last(self, max_age_s: float) -> Result:
        """The newest result. Raises NotKnown if there is none that is younger than `max_age_s`.

        Begins a new call if the result is too old, but never waits for it.
        """
        self.refresh()
        with self._lock:
            future, age_s = self._ended, self._clock() - self._ended_s
        if future is None or age_s > max_age_s:
            raise NotKnown("not checked yet")
        return future.result()

    def _refreshed(self) -> tuple[Future[Result], float]:
        """The newest call, and how long it may still be waited for, in seconds."""
        with self._lock:
            now_s = self._clock()
            newest = self._newest
            running = newest is not self._ended
            if newest is None or not (running or now_s - self._ended_s < self._keep_s):
                newest = Future()
                threading.Thread(target=self._run, args=(newest,), daemon=True).start()
                self._newest, self._began_s = newest, now_s
            return newest, max(0.0, self._began_s + self._wait_s - now_s)

    def _run(self, future: Future[Result]) -> None:
        ended: Future[Result] = Future()
        try:
            ended.set_result(self._call())
        except Exception as error:
            ended.set_exception(error)
        # Under the lock, so that whoever has got this result and asks again begins a new call.
        with self._lock:
            self._ended, self._ended_s = future, self._clock()
            if error_of_call := ended.exception():
                future.set_exception(error_of_call)
            else:
                future.set_result(ended.result())
