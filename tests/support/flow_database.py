"""A PostgreSQL server behind the triggers of a flow."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Protocol

from devstack.processes import StartFailed
from support.faulty_tcp import Address
from support.postgres import USER, PostgresServer, postgres_folder

DATABASE = "rollcall"
START_DEADLINE_S = 60.0


class ServedDatabase(Protocol):
    """PostgreSQL as a flow uses it: one server, or several of which one is the primary."""

    def url(self) -> str:
        """The URL for triggers."""
        ...

    def direct_url(self) -> str:
        """The URL for tests. It names the primary only."""
        ...


class OnePostgres:
    """A context manager that runs one server, which a test can kill."""

    def __init__(self) -> None:
        self._exit = ExitStack()

    def __enter__(self) -> OnePostgres:
        try:
            self.server = PostgresServer(self._exit.enter_context(postgres_folder()))
            self._exit.callback(self.server.stop)
            self.server.create()
            self.server.start()
            with self.server.connect() as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def url(self) -> str:
        return self.server.url(DATABASE)

    direct_url = url

    def address(self) -> Address:
        return self.server.host, self.server.port

    def kill(self, down_s: float) -> None:
        """Crash the server, and start it again after `down_s`."""
        self.server.kill()
        time.sleep(down_s)
        start_again(self.server)


def start_again(server: PostgresServer) -> None:
    """Start a server that was killed. Raises StartFailed."""
    # It does not start while a process of the killed server still runs.
    until = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            server.start()
            return
        except StartFailed:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def url_at(address: Address) -> str:
    """The URL of the flow's database behind a link that listens at this address."""
    host, port = address
    return f"postgresql://{USER}@{host}:{port}/{DATABASE}"
