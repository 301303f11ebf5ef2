"""The whole flow in real processes, with a proxy in every link between them."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx

from devstack.build_context import REPOSITORY
from devstack.processes import Process, Processes, StartFailed, answers, free_port
from devstack.stack import INHERITED
from devstack.store_servers import Place, StoreName, build_store
from rollcall.core.settings import Settings, parse_settings
from rollcall.gallery.enrolment import save
from rollcall.gallery.gallery_places import FilePlace
from rollcall.stores.boto import dynamodb_client, dynamodb_resource, s3_client
from rollcall.stores.dynamodb import ensure_table, put_items
from rollcall.stores.s3 import S3Store
from support.faulty_proxy import FaultyProxy
from support.inbox_rows import Row, read_rows
from support.videos import painted_gallery
from support.waiting import wait_until

TESTS = REPOSITORY / "tests"
WORKERS = 2
DEADLINE_S = 240.0
TOKEN = "a-token-of-the-trigger"
HMAC_KEY = "k" * 32

LINKS = ("function-s3", "function-dynamodb", "trigger-function", "trigger-s3", "store-trigger")
"""Who connects, and to whom."""

PEOPLE = {"alice": "red", "bob": "blue", "carol": "green", "dave": "yellow"}
"""In the gallery; magenta and cyan are strangers."""

RECORDS = {"alice": ("physics", "junior"), "bob": ("history", "senior"), "carol": ("maths", "1")}
"""Dave has none."""


class ProxiedFlow:
    """A context manager: store, function and trigger run inside it, and nothing after it.

    `quick` shortens the trigger's waits; `trigger_environ` is added to its environment.
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
        """The inbox when the running trigger was started: its counters began at 0 then."""
        self._environ = {name: os.environ[name] for name in INHERITED if name in os.environ}
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
        """The socket stays ours, so calls wait in it while there are no workers."""
        fd = self._socket.fileno()
        paths = f"{TESTS / 'faults'},{TESTS / 'integration'},{TESTS}"
        argv = [
            *(sys.executable, "-m", "gunicorn", "--no-control-socket"),
            *("--workers", str(WORKERS), "--bind", f"fd://{fd}", "--timeout", "60"),
            *("--pythonpath", paths, "ledger_function:app()"),
        ]
        env = self.env(
            S3_ENDPOINT_URL=self.links["function-s3"].url,
            DYNAMODB_ENDPOINT_URL=self.links["function-dynamodb"].url,
            CALLS=str(self.folder / "calls"),
        )
        self.function = Process("function", argv, env, self.folder, (fd,))
        self.processes.add(self.function).wait_ready(answers(self._function_url + "/healthz"))

    def start_trigger(self) -> None:
        """Until it stands, as whatever runs it would: it ends when the store is away."""
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
        """Another one on the same inbox; it should not stay."""
        return self.processes.add(self._trigger("second-trigger"))

    def _trigger(self, name: str = "trigger") -> Process:
        argv = [sys.executable, str(self._program), "--register", "--via", self.backend.via]
        argv += ["--advertise", self.links["store-trigger"].url]
        env = self.env(
            S3_ENDPOINT_URL=self.links["trigger-s3"].url,
            OPENFAAS_GATEWAY=self.links["trigger-function"].url,
        )
        return Process(name, argv, env | self._trigger_environ, self.folder)

    # What can be seen from outside

    def rows(self) -> dict[int, Row]:
        """All work in the inbox, by id."""
        return {row.id: row for row in self.works("")}

    def works(self, prefix: str) -> list[Row]:
        """The work on videos below a prefix."""
        return read_rows(Path(self.values["INBOX"]), prefix)

    def metrics(self) -> str:
        return httpx.get(self.trigger_url + "/metrics", timeout=60, trust_env=False).text

    def wait(self, condition: Callable[[], object], what: str) -> None:
        wait_until(condition, what, DEADLINE_S)

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
        gallery = painted_gallery(**PEOPLE)
        save(gallery, FilePlace(self.folder / "gallery.npz"))
        ensure_table(dynamodb_client(self.settings), self.settings.student_table)
        items = [{"name": n, "major": major, "year": year} for n, (major, year) in RECORDS.items()]
        put_items(dynamodb_resource(self.settings), self.settings.student_table, items)

    def _values(self) -> dict[str, str]:
        return {
            **self.backend.settings(),
            "OPENFAAS_GATEWAY": self._function_url,
            "TRIGGER_LISTEN": self.trigger_url.removeprefix("http://"),
            "TRIGGER_TOKEN": TOKEN,
            "FUNCTION_HMAC_KEY": HMAC_KEY,
            "INBOX": str(self.folder / "inbox.sqlite3"),
            "ENCODINGS": str(self.folder / "gallery.npz"),
            "REPORT_BUCKET": "reports",
            "MAX_INFLIGHT": str(WORKERS),
            "RECONCILE_S": "3",
            **self._overrides,
        }

    def env(self, **changed: str) -> dict[str, str]:
        return self._environ | self.values | changed
