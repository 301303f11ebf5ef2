"""The embedded stack: a store, the function's workers, and the trigger.

Events take the product's own push path: S3 -> notification -> HTTP -> inbox.
"""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from rollcall.core.settings import Settings, parse_settings
from rollcall.local.build_context import REPOSITORY, assemble
from rollcall.local.processes import Process, Processes, answers, free_port
from rollcall.local.stores import Place, StoreName, build_store
from rollcall.trigger.inbox_file import InboxOwner

WORKERS = 2
INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONPATH", "TMPDIR")


class EmbeddedStack:
    """A context manager; inside it everything runs, and after it nothing is left running.

    `folder` gets logs, inbox and the function's build context. `overrides` are settings by name.
    """

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
        self._processes = Processes()
        self._store = build_store(store, Place(self.folder, self._environ, self._processes))
        self._trigger_port = free_port()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.values = self._settings_values() | dict(overrides or {})
        self.settings: Settings = parse_settings(self.values)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        with InboxOwner(Path(self.values["INBOX"])):
            pass  # nobody else works in this folder
        assemble(self.folder / "context")
        try:
            self.store = self.start_store()
            self.function = self.start_function()
            self.trigger = self.start_trigger()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._processes.__exit__(None, None, None)
        self._store.clean()
        self._socket.close()

    @property
    def trigger_url(self) -> str:
        return f"http://127.0.0.1:{self._trigger_port}"

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

    def start_function(self) -> Process:
        """The socket stays ours, so calls wait in it while the workers are restarted."""
        fd = self._socket.fileno()
        argv = [
            "-m",
            "gunicorn",
            "--workers",
            str(WORKERS),
            "--bind",
            f"fd://{fd}",
            "--timeout",
            "300",
            "--no-control-socket",
            "rollcall.local.python3_http:from_environment()",
        ]
        extra = {"FUNCTION_CONTEXT": str(self.folder / "context")}
        return self._start("function", argv, self._gateway + "/healthz", extra, (fd,))

    def start_trigger(self) -> Process:
        script = str(REPOSITORY / "trigger_openfaas.py")
        argv = [script, "--register", "--via", self._store.via, "--advertise", self.trigger_url]
        return self._start("trigger", argv, self.trigger_url + "/healthz")

    @property
    def _gateway(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _start(
        self,
        name: str,
        argv: list[str],
        url: str,
        extra: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> Process:
        env = self._environ | self.values | dict(extra or {})
        process = Process(name, [sys.executable, *argv], env, self.folder, pass_fds)
        self._processes.add(process).wait_ready(answers(url))
        return process

    def _settings_values(self) -> dict[str, str]:
        return {
            **self._store.settings(),
            "OPENFAAS_GATEWAY": self._gateway,
            "OPENFAAS_FUNCTION": "face-recognition",
            "FUNCTION_HMAC_KEY": secrets.token_hex(32),
            "TRIGGER_LISTEN": f"127.0.0.1:{self._trigger_port}",
            "TRIGGER_TOKEN": secrets.token_hex(16),
            "INBOX": str(self.folder / "inbox.sqlite3"),
            "MAX_INFLIGHT": str(WORKERS),
        }
