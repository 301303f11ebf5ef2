"""A value that is built when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BuiltOnce(Generic[Value]):
    """Calls `build` at the first call, by one thread. After an error, the next call tries again."""

    def __init__(self, build: Callable[[], Value]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._built: list[Value] = []

    def __call__(self) -> Value:
        with self._lock:
            if not self._built:
                self._built.append(self._build())
            return self._built[0]
