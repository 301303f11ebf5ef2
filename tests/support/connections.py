"""Which addresses this process connects to, or asks a name server for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_WATCHERS: list[set[str]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _WATCHERS and event == "socket.connect":
        _note(str(arguments[1]))
    elif _WATCHERS and event == "socket.getaddrinfo":
        _note(f"{arguments[0]}:{arguments[1]}")


def _note(address: str) -> None:
    for watcher in _WATCHERS:
        watcher.add(address)


sys.addaudithook(_hook)  # for good: Python knows no way to take one back


@contextmanager
def watched() -> Iterator[set[str]]:
    """What was asked for inside."""
    seen: set[str] = set()
    _WATCHERS.append(seen)
    try:
        yield seen
    finally:
        _WATCHERS.remove(seen)
