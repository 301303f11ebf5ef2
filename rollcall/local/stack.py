"""A flow on this machine: a store, what the flow puts behind it, and both stopped together."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Self

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings, parse_settings
from rollcall.local.processes import Process, Processes, answers
from rollcall.local.stores import Place, StoreName, build_store

WORKERS = 2
"""Videos at once."""

INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")


class LocalStack(ABC):
    """A context manager; inside it everything runs, and after it nothing is left running.

    `folder` gets logs, state and build contexts. `overrides` are settings by name.
    """

    parts: ClassVar[str]
    """What runs, for people."""

    not_on: ClassVar[Mapping[StoreName, str]] = {}
    """Stores that this flow cannot stand on, and why."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        overrides: Mapping[str, str] | None = None,
        store: StoreName = "embedded",
    ) -> None:
        self.folder = folder.resolve()
        self._environ = {
            name: value
            for name, value in environ.items()
            if name in INHERITED or name.startswith("COVERAGE_")
        }
        self.check_store(store)
        self._running = ExitStack()  # what is no process: closed before them
        self._processes = Processes()
        self._store = build_store(store, Place(self.folder, self._environ, self._processes))
        self.values = {**self._store.settings(), **self._flow_settings(), **(overrides or {})}
        self.settings: Settings = parse_settings(self.values)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prepare()
        try:
            self.store = self.start_store()
            self._start_flow()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()
        self._processes.__exit__(None, None, None)
        self._store.clean()

    @classmethod
    def check_store(cls, store: StoreName) -> None:
        """Raises SettingsError where this flow cannot stand on that store."""
        if store in cls.not_on:
            raise SettingsError(cls.not_on[store])

    def dead(self) -> list[Process]:
        return self._processes.dead()

    @property
    def hint(self) -> str:
        """What a person who waits for the first result should know; empty: nothing."""
        return self._store.hint

    def wait_delivering(self) -> None:
        """Returns when events go out at once. Raises StartFailed when that takes too long."""
        self.store.wait_ready(self._store.delivers)

    def start_store(self) -> Process:
        return self._store.start()

    @abstractmethod
    def _flow_settings(self) -> dict[str, str]:
        """By the names of the settings; the store's are known by now."""

    @abstractmethod
    def _prepare(self) -> None:
        """In the folder, before anything runs; what it raises leaves everything as it was, for the
        folder may be somebody else's."""

    @abstractmethod
    def _start_flow(self) -> None:
        """The store runs."""

    def _start(
        self,
        name: str,
        argv: list[str],
        url: str,
        extra: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> Process:
        """A Python program that is ready when `url` answers."""
        env = self._environ | self.values | dict(extra or {})
        process = Process(name, [sys.executable, *argv], env, self.folder, pass_fds)
        self._processes.add(process).wait_ready(answers(url))
        return process
