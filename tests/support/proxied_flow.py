"""The whole flow in real processes, with a proxy on each connection between two of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx

from devstack.build_context import REPOSITORY
from devstack.processes import Process, Processes, StartFailed, answers, free_port
from devstack.store_servers import Place, StoreName, build_store
from rollcall.core.settings import Settings, parse_settings
from rollcall.stores.boto import dynamodb_client, dynamodb_resource, s3_client
from rollcall.stores.dynamodb import ensure_table, put_items
from rollcall.stores.s3 import S3Store
from support.faulty_proxy import FaultyProxy
from support.flow_processes import (
    FUNCTION_WORKERS,
    TESTS,
    TRIGGER_TOKEN,
    enrol_painted,
    inherited_environ,
    start_function,
    trigger_process,
)
from support.inbox_rows import Row, read_rows, sqlite_file
from support.waiting import wait_until

DEADLINE_S = 240.0
HMAC_KEY = "k" * 32

LINKS = ("function-s3", "function-dynamodb", "trigger-function", "trigger-s3", "store-trigger")
"""The connections, each named by its client and its server."""

PEOPLE = {"alice": "red", "bob": "blue", "carol": "green", "dave": "yellow"}
"""The people in the gallery and the colours of their faces. Magenta and cyan are strangers."""

RECORDS = {"alice": ("physics", "junior"), "bob": ("history", "senior"), "carol": ("maths", "1")}
"""Major and year of each person. Dave has no record."""


class ProxiedFlow:
    """A context manager that runs a store, the function and the trigger.

    `quick` shortens the waits of the trigger. `trigger_environ` is added to its environment.
    """

    def __init__(
        self,
        folder: Path,
        store: StoreName = "embedded",
        *,
        quick: bool = True,
        overrides: Mapping[str, str] | None = None,
        trigger_environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.metrics_from: dict[int, Row] = {}
        """The rows of the inbox when the trigger started, and its counters were 0."""
        self._environ = inherited_environ()
        self._trigger_environ = dict(trigger_environ or {})
        self._overrides = dict(overrides or {})
        self._program = TESTS / "faults" / "quick_trigger.py"
        if not quick:
            self._program = REPOSITORY / "trigger_openfaas.py"
        self.processes = Processes()
        self.backend = build_store(store, Place(self.folder, self._environ, self.processes))
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._function_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.trigger_url = f"http://127.0.0.1:{free_port()}"
        self.links: dict[str, FaultyProxy] = {}
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._exit.callback(self._socket.close)
        self._exit.callback(self.backend.clean)
        self._exit.enter_context(self.processes)
        try:
            self.values = self._values()
            self.settings: Settings = parse_settings(self.values)
            self.s3 = S3Store(s3_client(self.settings))
            self._start_links()
            self.backend.start()
            self._enrol()
            self.start_function()
            self.start_trigger()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    # Processes

    def start_function(self) -> None:
        # The listening socket belongs to this process, so calls wait in it during a restart.
        env = self.env(
            S3_ENDPOINT_URL=self.links["function-s3"].url,
            DYNAMODB_ENDPOINT_URL=self.links["function-dynamodb"].url,
            CALLS=str(self.folder / "calls"),
        )
        self.function = start_function(
            self.processes,
            self.folder,
            env,
            "ledger_function:app()",
            self._function_url,
            self._socket.fileno(),
        )

    def start_trigger(self) -> None:
        """Start the trigger, and restart it if it ends, as systemd or Kubernetes would."""
        # A trigger that registers itself ends if the store does not answer.
        until = time.monotonic() + DEADLINE_S
        while True:
            self.metrics_from = self.rows()
            self.trigger = self.processes.add(self._trigger())
            try:
                self.trigger.wait_ready(answers(self.trigger_url + "/healthz"))
                return
            except StartFailed:
                self.processes.stop(self.trigger)
                if time.monotonic() > until:
                    raise

    def second_trigger(self) -> Process:
        """Start another trigger on the same inbox. It should end with an error."""
        return self.processes.add(self._trigger("second-trigger"))

    def _trigger(self, name: str = "trigger") -> Process:
        env = self.env(
            S3_ENDPOINT_URL=self.links["trigger-s3"].url,
            OPENFAAS_GATEWAY=self.links["trigger-function"].url,
        )
        return trigger_process(
            self.folder,
            env | self._trigger_environ,
            self.links["store-trigger"].url,
            via=self.backend.via,
            program=self._program,
            name=name,
        )

    # State of the flow

    @property
    def inbox(self) -> Path:
        """The file of the trigger's database."""
        return sqlite_file(self.values)

    def rows(self) -> dict[int, Row]:
        """Return the rows of all work in the inbox by id."""
        return {row.id: row for row in self.works("")}

    def works(self, prefix: str) -> list[Row]:
        """Return the rows of the work on videos below a prefix."""
        return read_rows(self.inbox, prefix)

    def metrics(self) -> str:
        return httpx.get(self.trigger_url + "/metrics", timeout=60, trust_env=False).text

    def wait(self, condition: Callable[[], object], description: str) -> None:
        wait_until(condition, description, DEADLINE_S)

    # Set-up

    def _start_links(self) -> None:
        targets = {
            "function-s3": self.settings.s3_endpoint_url,
            "function-dynamodb": self.settings.dynamodb_endpoint_url,
            "trigger-function": self._function_url,
            "trigger-s3": self.settings.s3_endpoint_url,
            "store-trigger": self.trigger_url,
        }
        for name in LINKS:
            proxy = FaultyProxy(name, targets[name])
            self.links[name] = self._exit.enter_context(proxy)

    def _enrol(self) -> None:
        enrol_painted(self.folder / "gallery.npz", **PEOPLE)
        ensure_table(dynamodb_client(self.settings), self.settings.student_table)
        items = [{"name": n, "major": major, "year": year} for n, (major, year) in RECORDS.items()]
        put_items(dynamodb_resource(self.settings), self.settings.student_table, items)

    def _values(self) -> dict[str, str]:
        return {
            **self.backend.settings(),
            "OPENFAAS_GATEWAY": self._function_url,
            "TRIGGER_LISTEN": self.trigger_url.removeprefix("http://"),
            "TRIGGER_TOKEN": TRIGGER_TOKEN,
            "FUNCTION_HMAC_KEY": HMAC_KEY,
            "DATABASE_URL": f"sqlite:///{self.folder / 'inbox.sqlite3'}",
            "ENCODINGS": str(self.folder / "gallery.npz"),
            "REPORT_BUCKET": "reports",
            "MAX_INFLIGHT": str(FUNCTION_WORKERS),
            "RECONCILE_S": "3",
            **self._overrides,
        }

    def env(self, **changed: str) -> dict[str, str]:
        return self._environ | self.values | changed
