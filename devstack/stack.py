"""A flow on this machine: a store, what the flow puts behind it, and both stopped together."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Self

from devstack.processes import Process, Processes, answers
from devstack.store_servers import Place, StoreName, build_store
from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings, changed_settings, parse_settings, setting_names

WORKERS = 2
"""Videos at once."""

CALL_MARGIN_S = 20
"""A call that takes this much longer than MAX_CALL_S hangs, and its worker is ended."""

INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")

OWN_SETTINGS = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "DEAD_LETTER_QUEUE_URL",
        "DYNAMODB_ENDPOINT_URL",
        "ENCODINGS",
        "INBOX",
        "INPUT_QUEUE_URL",
        "LAMBDA_ENDPOINT_URL",
        "OPENFAAS_GATEWAY",
        "RESULTS_FOLDER",
        "RESULT_QUEUE_URL",
        "S3_AWS_ACCESS_KEY_ID",
        "S3_AWS_SECRET_ACCESS_KEY",
        "S3_CA_BUNDLE",
        "S3_ENDPOINT_URL",
        "SNS_VERIFY",
        "SQS_ENDPOINT_URL",
        "TRIGGER_LISTEN",
    }
)
"""Settings that name services, keys and files of an installation. A stack has its own, so that a
trial never touches the real ones. Every other setting of the user applies."""


class LocalStack(ABC):
    """A context manager; inside it everything runs, and after it nothing is left running.

    `folder` gets logs, state and build contexts. The user's settings, `chosen`, apply to all parts,
    except for OWN_SETTINGS; `overrides`, by name, win over them.
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
        chosen: Settings | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._environ = {
            name: value
            for name, value in environ.items()
            if name in INHERITED or name.startswith("COVERAGE_")
        }
        self.check_store(store)
        self._running = ExitStack()  # everything but processes, closed before them
        self._processes = Processes()
        self._store = build_store(store, Place(self.folder, self._environ, self._processes))
        wanted = _texts(chosen or Settings())
        overrides = overrides or {}
        self.values = {
            **self._flow_defaults(),
            **{name: text for name, text in wanted.items() if name not in OWN_SETTINGS},
            **self._store.settings(),
            **self._flow_settings(),
            **overrides,
        }
        self.settings: Settings = parse_settings(self.values)
        replaced = (name for name, text in wanted.items() if self.values.get(name, "") != text)
        self.replaced = sorted(set(replaced) - overrides.keys())
        """Settings of the user that this stack replaces by its own."""

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
        """Raise SettingsError when this flow cannot use that store."""
        if store in cls.not_on:
            raise SettingsError(cls.not_on[store])

    @property
    def call_limit_s(self) -> int:
        """Seconds after which a call is ended from outside."""
        return max(300, int(self.settings.max_call_s) + CALL_MARGIN_S)

    def dead(self) -> list[Process]:
        return self._processes.dead()

    @property
    def hints(self) -> list[str]:
        """Sentences for the person who started it."""
        names = ", ".join(self.replaced)
        own = f"Not used, because this stack has its own: {names}."
        return [*([own] if names else []), *([self._store.hint] if self._store.hint else [])]

    @property
    def environ(self) -> dict[str, str]:
        """For child processes. It names every setting, so none comes from a file or a secret."""
        return self._environ | dict.fromkeys(setting_names(), "") | self.values

    @property
    def topic(self) -> str:
        """The topic of the input bucket's events; empty where there is none."""
        return ""

    def wait_delivering(self) -> None:
        """Returns when events go out at once. Raises StartFailed when that takes too long."""
        self.store.wait_ready(lambda: self._store.delivers(self.topic))

    def start_store(self) -> Process:
        return self._store.start()

    def _flow_defaults(self) -> dict[str, str]:
        """Settings by name, for those that the user has not set."""
        return {}

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
        env = self.environ | dict(extra or {})
        process = Process(name, [sys.executable, *argv], env, self.folder, pass_fds)
        self._processes.add(process).wait_ready(answers(url))
        return process


def _texts(chosen: Settings) -> dict[str, str]:
    """The user's settings by name. Relative paths start at the user's folder, not the stack's."""
    texts = changed_settings(chosen)
    if "MODEL_CACHE" in texts:
        texts["MODEL_CACHE"] = str(Path(texts["MODEL_CACHE"]).absolute())
    return texts
