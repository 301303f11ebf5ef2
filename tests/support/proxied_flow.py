"""The whole flow in real processes, with a proxy on each connection between two of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from devstack.build_context import REPOSITORY
from devstack.processes import Process, Processes, StartFailed, answers
from devstack.store_servers import Place, StoreName, build_store
from rollcall.core.settings import Settings, parse_settings
from rollcall.stores.boto import dynamodb_client, dynamodb_resource, s3_client
from rollcall.stores.dynamodb import ensure_table, put_items
from rollcall.stores.s3 import S3Store
from support.faulty_link import FaultyLink
from support.faulty_proxy import FaultyProxy
from support.faulty_tcp import FaultyTcp
from support.flow_database import OnePostgres, ServedDatabase, url_at
from support.flow_processes import (
    FUNCTION_WORKERS,
    TESTS,
    TRIGGER_TOKEN,
    enrol_painted,
    inherited_environ,
    start_function,
)
from support.flow_state import DEADLINE_S, FlowState
from support.flow_triggers import FlowTrigger, trigger_name
from support.net_hosts import NetHosts

HMAC_KEY = "k" * 32

FUNCTION_TIMEOUT_S = 10
"""Of triggers that share a database. The work of a trigger that died waits a little longer."""

STORE_HOST = "store"
"""The host of the test, the store and the function, if the triggers run on other hosts."""

PEOPLE = {"alice": "red", "bob": "blue", "carol": "green", "dave": "yellow"}
"""The people in the gallery and the colours of their faces. Magenta and cyan are strangers."""

RECORDS = {"alice": ("physics", "junior"), "bob": ("history", "senior"), "carol": ("maths", "1")}
"""Major and year of each person. Dave has no record."""


class ProxiedFlow(FlowState):
    """A context manager that runs a store, the function and triggers.

    The links are named by client and server: function-s3, function-dynamodb, store-trigger, and for
    each trigger trigger-function, trigger-s3 and trigger-database (trigger2-function, ...).
    Store-trigger is a load balancer in front of all triggers. `database` runs already; without it
    there is one trigger, which uses SQLite. There are links to `database` if it is one server.

    With `hosts` each trigger runs on the host with its name. The rest, including this thread, has
    to be on STORE_HOST. `quick` shortens the waits of the triggers. `trigger_environ` is added to
    their environment.
    """

    def __init__(
        self,
        folder: Path,
        store: StoreName = "embedded",
        *,
        triggers: int = 1,
        database: ServedDatabase | None = None,
        hosts: NetHosts | None = None,
        quick: bool = True,
        overrides: Mapping[str, str] | None = None,
        trigger_environ: Mapping[str, str] | None = None,
    ) -> None:
        found = [
            FlowTrigger(number, hosts[trigger_name(number)] if hosts else None)
            for number in range(triggers)
        ]
        super().__init__(database, found)
        self.folder = folder.resolve()
        self._address = hosts[STORE_HOST].address if hosts else "127.0.0.1"
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
        self.links: dict[str, FaultyLink] = {}
        self.front: FaultyProxy
        """The link store-trigger."""
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._exit.callback(self._socket.close)
        self._exit.callback(self.backend.clean)
        try:
            self.values = self._values()
            self.settings: Settings = parse_settings(self.values)
            self.s3 = S3Store(s3_client(self.settings))
            self._start_links()
            # Entered last, so that the processes stop while they can still reach each other.
            self._exit.enter_context(self.processes)
            self.backend.start()
            self._enrol()
            self.start_function()
            for each in self.triggers:
                self.start_trigger(each.number)
            self.take_baseline()
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
            S3_ENDPOINT_URL=self._link_url("function-s3"),
            DYNAMODB_ENDPOINT_URL=self._link_url("function-dynamodb"),
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

    def start_trigger(self, number: int = 0) -> None:
        """Start a trigger, and restart it if it ends, as systemd or Kubernetes would."""
        # A trigger that registers itself ends if the store does not answer.
        trigger = self.triggers[number]
        until = time.monotonic() + DEADLINE_S
        while True:
            self.spawn_trigger(number)
            try:
                trigger.process.wait_ready(answers(trigger.url + "/healthz"))
                return
            except StartFailed:
                self.processes.stop(trigger.process)
                if time.monotonic() > until:
                    raise

    def spawn_trigger(self, number: int = 0) -> None:
        """Start the process of a trigger, and do not wait until it is ready."""
        trigger = self.triggers[number]
        self.note_start(trigger)
        trigger.process = self.processes.add(self._spawn(trigger))

    def second_trigger(self) -> Process:
        """Start another trigger on the same SQLite database. It should end with an error."""
        return self.processes.add(self._spawn(self.triggers[0], "second-trigger"))

    def _spawn(self, trigger: FlowTrigger, name: str = "") -> Process:
        env = self.env(
            S3_ENDPOINT_URL=self._link_url(trigger.link("s3")),
            OPENFAAS_GATEWAY=self._link_url(trigger.link("function")),
        )
        database = self.links.get(trigger.link("database"))
        if isinstance(database, FaultyTcp):
            env["DATABASE_URL"] = url_at(database.address)
        return trigger.spawn(
            self.folder,
            env | self._trigger_environ,
            self.front.url,
            via=self.backend.via,
            program=self._program,
            name=name,
        )

    # Set-up

    def _link_url(self, name: str) -> str:
        link = self.links[name]
        assert isinstance(link, FaultyProxy)
        return link.url

    def _start_links(self) -> None:
        s3_url = self.settings.s3_endpoint_url
        self._http_link("function-s3", s3_url)
        self._http_link("function-dynamodb", self.settings.dynamodb_endpoint_url)
        for each in self.triggers:
            self._http_link(each.link("function"), self._function_url, marks=True)
            self._http_link(each.link("s3"), s3_url)
            if isinstance(self.database, OnePostgres):
                name = each.link("database")
                link = FaultyTcp(name, self.database.address, host=self._address)
                self.links[name] = self._exit.enter_context(link)
        urls = [each.url for each in self.triggers]
        self.front = self._http_link("store-trigger", *urls)
        self.front.on_answer = self._on_acknowledged

    def _http_link(self, name: str, *targets: str, marks: bool = False) -> FaultyProxy:
        proxy = FaultyProxy(name, *targets, host=self._address, marks=marks)
        self.links[name] = self._exit.enter_context(proxy)
        return proxy

    def _on_acknowledged(self, body: bytes, status: int) -> None:
        if body and 200 <= status < 300:
            self.acknowledged.append((body, time.time()))

    def _enrol(self) -> None:
        enrol_painted(self.folder / "gallery.npz", **PEOPLE)
        ensure_table(dynamodb_client(self.settings), self.settings.student_table)
        items = [{"name": n, "major": major, "year": year} for n, (major, year) in RECORDS.items()]
        put_items(dynamodb_resource(self.settings), self.settings.student_table, items)

    def _values(self) -> dict[str, str]:
        return {
            **self.backend.settings(),
            "OPENFAAS_GATEWAY": self._function_url,
            "TRIGGER_TOKEN": TRIGGER_TOKEN,
            "FUNCTION_HMAC_KEY": HMAC_KEY,
            "ENCODINGS": str(self.folder / "gallery.npz"),
            "REPORT_BUCKET": "reports",
            "MAX_INFLIGHT": str(FUNCTION_WORKERS),
            "RECONCILE_S": "3",
            **self._database_values(),
            **self._overrides,
        }

    def _database_values(self) -> dict[str, str]:
        if self.database is None:
            return {"DATABASE_URL": f"sqlite:///{self.folder / 'inbox.sqlite3'}"}
        return {
            "DATABASE_URL": self.database.url(),
            "FUNCTION_TIMEOUT_S": str(FUNCTION_TIMEOUT_S),
        }

    def env(self, **changed: str) -> dict[str, str]:
        return self._environ | self.values | changed
