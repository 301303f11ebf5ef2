"""The base class of flows on one machine: a store, and the programs that process its videos."""

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
from rollcall.core.settings import Settings, changed_settings, default_texts, parse_settings

WORKERS = 2
"""Number of videos that are processed at the same time."""

CALL_MARGIN_S = 20
"""A call that takes this much longer than MAX_CALL_S counts as hanging, and is killed."""

# Only these variables of the user's shell reach the processes of the stack. Settings are passed
# separately.
INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")

STACK_SETTINGS = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "DATABASE_URL",
        "DEAD_LETTER_QUEUE_URL",
        "DYNAMODB_ENDPOINT_URL",
        "ENCODINGS",
        "INPUT_QUEUE_URL",
        "LAMBDA_ENDPOINT_URL",
        "OPENFAAS_GATEWAY",
        "RESULTS_FOLDER",
        "RESULT_QUEUE_URL",
        "RESULT_WEBHOOK_CA_BUNDLE",
        "RESULT_WEBHOOK_SECRET",
        "RESULT_WEBHOOK_URL",
        "S3_AWS_ACCESS_KEY_ID",
        "S3_AWS_SECRET_ACCESS_KEY",
        "S3_CA_BUNDLE",
        "S3_ENDPOINT_URL",
        "SNS_VERIFY",
        "SQS_ENDPOINT_URL",
        "TRIGGER_LISTEN",
        "WEB_STORE_URL",
    }
)
"""Settings for the services, keys and files of a real installation. A stack replaces them with its
own values, so that it never changes real data. Every other setting of the user applies."""


class LocalStack(ABC):
    """A context manager that starts all programs of a flow, and stops them when the block ends.

    Logs, state and build contexts are written to `folder`. The user's settings `chosen` apply,
    except for STACK_SETTINGS. `overrides` maps setting names to values that have precedence over
    the settings of the user and of the stack.
    """

    parts: ClassVar[str]
    """The programs of the flow, as a phrase for messages."""

    unsupported_stores: ClassVar[Mapping[StoreName, str]] = {}
    """Stores that this flow cannot use, each with the error message."""

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
            if name in INHERITED
            or name.startswith("COVERAGE_")  # measures child processes in tests
        }
        self.check_store(store)
        self._resources = ExitStack()  # resources to close before the processes are stopped
        self._processes = Processes()
        self._store = build_store(store, Place(self.folder, self._environ, self._processes))
        users_values = _texts(chosen or Settings())
        overrides = overrides or {}
        # Later lines have precedence over earlier ones.
        self.values = {
            **self._flow_defaults(),
            **{name: text for name, text in users_values.items() if name not in STACK_SETTINGS},
            **self._store.settings(),
            **self._flow_settings(),
            **overrides,
        }
        self.settings: Settings = parse_settings(self.values)
        replaced = (
            name for name, text in users_values.items() if self.values.get(name, "") != text
        )
        self.replaced = sorted(set(replaced) - overrides.keys())
        """Names of the user's settings that this stack replaces with its own values."""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Outside the `try`, because after an error in `_prepare` nothing may be stopped or removed.
        self._prepare()
        try:
            self.store = self.start_store()
            self._start_flow()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._resources.close()
        self._processes.__exit__(None, None, None)
        self._store.clean()

    @classmethod
    def check_store(cls, store: StoreName) -> None:
        """Raise SettingsError if this flow cannot use the store."""
        if store in cls.unsupported_stores:
            raise SettingsError(cls.unsupported_stores[store])

    @property
    def call_limit_s(self) -> int:
        """Time limit of a call of the function, after which its process is killed."""
        # MAX_CALL_S limits only the work on the video. The first call also loads the models, so the
        # limit is at least five minutes.
        return max(300, int(self.settings.max_call_s) + CALL_MARGIN_S)

    def dead(self) -> list[Process]:
        """Return the processes that ended although nobody stopped them."""
        return self._processes.dead()

    @property
    def hints(self) -> list[str]:
        """Sentences for the user who started the stack."""
        names = ", ".join(self.replaced)
        replaced = f"Not used, because this stack has its own: {names}." if names else ""
        return [hint for hint in (replaced, self._store.hint) if hint]

    @property
    def environ(self) -> dict[str, str]:
        """The environment of child processes. It sets every setting, so files have no effect."""
        return self._environ | default_texts() | self.values

    @property
    def topic(self) -> str:
        """The name of the topic that gets the input bucket's events; empty if the flow has none."""
        return ""

    def wait_delivering(self) -> None:
        """Wait until the store sends events without delay. Raises StartFailed after a minute."""
        self.store.wait_ready(lambda: self._store.delivers(self.topic))

    def start_store(self) -> Process:
        return self._store.start()

    def _flow_defaults(self) -> dict[str, str]:
        """Return default values for settings of this flow that the user has not set."""
        return {}

    @abstractmethod
    def _flow_settings(self) -> dict[str, str]:
        """Return the settings of this flow by name. `self._store` already exists."""

    @abstractmethod
    def _prepare(self) -> None:
        """Prepare the folder before any program starts.

        After an error nothing is stopped or removed, because another stack may be using the folder.
        """

    @abstractmethod
    def _start_flow(self) -> None:
        """Start the programs of the flow. The store is already running."""

    def _start(
        self,
        name: str,
        argv: list[str],
        url: str,
        extra: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> Process:
        """Start a Python program, and wait until `url` answers."""
        env = self.environ | dict(extra or {})
        process = Process(name, [sys.executable, *argv], env, self.folder, pass_fds)
        self._processes.add(process).wait_ready(answers(url))
        return process


def _texts(chosen: Settings) -> dict[str, str]:
    """Return the user's settings by name. Paths become absolute, for programs in another folder."""
    texts = changed_settings(chosen)
    for name in ("MODEL_CACHE", "WEB_USERS"):
        if name in texts:
            texts[name] = str(Path(texts[name]).absolute())
    return texts
