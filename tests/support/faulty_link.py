"""What the proxies of the fault tests have in common: which fault is next, and cutting the link."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

# SO_LINGER with a time of 0 s: closing the socket sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

BREAKS = ("reset", "lost", "stall", "half")
"""Faults that do not depend on what a link connects."""


class FaultyLink:
    """Chooses the fault for each request on a link, and counts the faults."""

    def __init__(self, name: str, stall_s: float = 1.0) -> None:
        self.name = name
        self.injected: Counter[str] = Counter()
        self.passed = 0
        self.stall_s = stall_s
        self.cuts: list[float] = []
        """The times of all cuts, in seconds of `time.monotonic`."""
        self._lock = threading.Lock()
        self._choose: Callable[[], str] = _nothing
        self._is_cut = False
        self._stalls_end = threading.Event()
        self._live: set[socket.socket] = set()

    def break_next(self, *kinds: str) -> None:
        """Inject these faults into the next requests, one fault for each request."""
        script = iter(kinds)
        self._choose = lambda: next(script, "")

    def break_at_random(self, seed: int, rate: float, kinds: Sequence[str]) -> None:
        """Inject one of these faults into each request with the probability `rate`."""
        dice = random.Random(seed)
        self._choose = lambda: dice.choice(kinds) if dice.random() < rate else ""

    def mend(self) -> None:
        self._choose = _nothing
        self.restore()

    def cut(self) -> None:
        """Close all connections, and reset every new one, until `restore`."""
        with self._lock:
            self._is_cut = True
            self.injected["cut"] += 1
            self.cuts.append(time.monotonic())
            live = list(self._live)
        for connection in live:
            _shut(connection)

    def cut_count(self) -> int:
        with self._lock:
            return len(self.cuts)

    def restore(self) -> None:
        self._is_cut = False

    def enter(self, connection: socket.socket) -> bool:
        """Register a connection, and return whether it may be served."""
        with self._lock:
            self._live.add(connection)
            return not self._is_cut

    def leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._live.discard(connection)

    def next_fault(self) -> str:
        """Return the fault for the next request; empty for none."""
        with self._lock:
            kind = self._choose()
            if kind:
                self.injected[kind] += 1
            else:
                self.passed += 1
            return kind

    def stall(self) -> None:
        self._stalls_end.wait(self.stall_s)

    def end_stalls(self) -> None:
        """Let all requests that are stalled now go on."""
        ended, self._stalls_end = self._stalls_end, threading.Event()
        ended.set()


def reset(connection: socket.socket) -> None:
    """Let `close` reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)


def _nothing() -> str:
    return ""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client has already closed it
