"""Limits how often somebody may try passwords."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FREE_FAILURES = 5
"""Wrong passwords without a pause. People mistype; a program tries thousands."""

FIRST_PAUSE_S = 2.0
MAX_PAUSE_S = 900.0
"""The pause doubles with each further wrong password. At its longest, four passwords an hour can be
tried."""

FORGOTTEN_S = 3600.0
"""Failures are forgotten after this time without a further one."""

MAX_ENTRIES = 10_000
"""Names and addresses that are remembered. The oldest is forgotten first."""


@dataclass(slots=True)
class _Failures:
    count: int
    last_s: float


class SignInLimit:
    """Counts wrong passwords by user name and by address. Safe to share between threads.

    The name is counted too, because one password after the other can be tried from many addresses.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def wait_s(self, name: str, address: str) -> float:
        """Seconds until the next attempt is allowed; 0 if it is allowed now."""
        with self._lock:
            return max(self._wait_s(key) for key in _keys(name, address))

    def note_failure(self, name: str, address: str) -> None:
        """Count a wrong password."""
        with self._lock:
            now_s = self._clock()
            for key in _keys(name, address):
                found = self._failures.pop(key, None)
                if found is None or now_s - found.last_s > FORGOTTEN_S:
                    found = _Failures(0, now_s)
                self._failures[key] = _Failures(found.count + 1, now_s)
            while len(self._failures) > MAX_ENTRIES:
                self._failures.popitem(last=False)

    def note_success(self, name: str, address: str) -> None:
        """Forget the failures of the name. Those of the address stay, as a caller may own one
        account and try the passwords of others."""
        with self._lock:
            self._failures.pop(("name", name), None)

    def _wait_s(self, key: tuple[str, str]) -> float:
        found = self._failures.get(key)
        if found is None or found.count < FREE_FAILURES:
            return 0.0
        pause_s = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(found.count - FREE_FAILURES, 20))
        return max(0.0, found.last_s + pause_s - self._clock())


def _keys(name: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("name", name[:64]), ("address", address)
