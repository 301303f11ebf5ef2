"""Run a real PostgreSQL server on loopback, with a fresh database for each test.

PostgreSQL refuses to run as root. If the tests run as root, the server runs as the user `postgres`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from devstack.processes import Process, free_port, run
from rollcall.database.database import Database
from rollcall.database.open_database import prepare
from rollcall.database.tables import metadata
from support.needs import need
from support.waiting import wait_until

USER = "rollcall"
TEMPLATE = "rollcall_template"
"""A database with Rollcall's tables. Copying it is much faster than creating the tables."""

QUICK = {"fsync": "off"}
"""Tests kill processes, not the machine, and Linux keeps what a killed process has written."""

_RUN_AS = "postgres"


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs. Skips the test if they are not installed."""
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    need(bool(folders), "PostgreSQL is not installed: apt-get install postgresql")
    return max(folders, key=lambda folder: [int(n) for n in folder.parts[-2:-1] if n.isdigit()])


class PostgresServer:
    """One server. `create` makes its data folder, `start` runs it, and `stop` ends it.

    `host` is the address that the server listens on. `options` are lines of postgresql.conf.
    `prefix` is put before each command, for example `ip netns exec NAME`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        options: Mapping[str, str] = QUICK,
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.host = host
        self.port = port or free_port()
        self.options = dict(options)
        self._prefix = tuple(prefix)
        self._programs = postgres_programs()
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@{self.host}:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of its own, which commits each statement."""
        return psycopg.connect(self.url(database), autocommit=True)

    def create(self) -> None:
        """Make the data folder with an empty database cluster."""
        trust = ("-A", "trust", "-U", USER, "--no-instructions", "--no-sync")
        self.program("initdb", "-D", str(self.data), "--locale=C", "-E", "UTF8", *trust)
        with open(self.data / "pg_hba.conf", "a", encoding="utf-8") as file:
            # For servers that listen in a network namespace, and for standby servers.
            file.write("host all all samenet trust\nhost replication all samenet trust\n")

    def program(self, name: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs as the server's user, and return its output."""
        return run(self._command(name, arguments), os.environ, self.folder)

    def start(self, *, wait: bool = True) -> None:
        """Run the server. It ends when this process ends, even by SIGKILL."""
        options = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "150",
            "shared_buffers": "64MB",
            **self.options,
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        command = self._command("postgres", ("-D", str(self.data), *flags))
        self._process = Process(f"postgres-{self.port}", command, os.environ, self.folder)
        if wait:
            self._process.wait_ready(self.ready)

    def ready(self) -> bool:
        """Whether the server accepts connections."""
        with suppress(psycopg.OperationalError), self.connect():
            return True
        return False

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        """End all connections and the server."""
        if self.alive():
            self.signal(signal.SIGINT)  # SIGTERM would wait for the clients
            assert self._process is not None
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
            self._process.stop()

    def kill(self) -> None:
        """Crash the server: SIGKILL, after which its other processes end by themselves.

        Returns when they have ended, because the server cannot be started again before.
        """
        assert self._process is not None
        others = _children(self.pid)
        self._process.kill()

        def ended() -> bool:
            return all(_facts(pid)[:1] in ([], ["Z"]) for pid in others)

        wait_until(ended, "the end of the server's other processes")

    def _command(self, name: str, arguments: Sequence[str]) -> list[str]:
        # setpriv runs the program in its own process, so signals reach the program. Linux clears
        # the signal for the parent's death when a process changes its user, so setpriv sets it.
        user = [f"--reuid={_RUN_AS}", f"--regid={_RUN_AS}", "--init-groups"]
        setpriv = ["setpriv", "--pdeathsig=INT", *(user if os.geteuid() == 0 else ())]
        return [*self._prefix, *setpriv, str(self._programs / name), *arguments]


def _children(parent: int) -> list[str]:
    found = (name for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in found if _facts(pid)[1:2] == [str(parent)]]


def _facts(pid: str) -> list[str]:
    """The state of a process and its parent's id, and more; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name of the program comes before that, in brackets, and may contain anything.
    return stat.rpartition(")")[2].split()


@contextmanager
def postgres_folder() -> Iterator[Path]:
    """A temporary folder that the server's user owns. (Only its owner may enter pytest's.)"""
    with tempfile.TemporaryDirectory(prefix="rollcall-postgres-") as name:
        if os.geteuid() == 0:
            shutil.chown(name, _RUN_AS)
        yield Path(name)


@contextmanager
def running_postgres(options: Mapping[str, str] = QUICK) -> Iterator[PostgresServer]:
    """A server with an empty database cluster, which is deleted at the end."""
    with postgres_folder() as folder:
        server = PostgresServer(folder, options=options)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()


class FreshDatabases:
    """Makes databases that have Rollcall's tables, and are empty otherwise."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._numbers = count(1)
        self._empty: list[str] = []
        with server.connect() as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        with closing(Database(server.url(TEMPLATE))) as database:
            prepare(database)

    @contextmanager
    def url(self, template: str = TEMPLATE) -> Iterator[str]:
        """The URL of a fresh database. At the end, its connections are closed.

        With the template `template1`, the database has no tables.
        """
        if template == TEMPLATE and self._empty:
            name = self._empty.pop()
        else:
            name = f"rollcall_{next(self._numbers)}"
            with self.server.connect() as connection:
                connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.server.url(name)
        finally:
            if not (template == TEMPLATE and self._empty_tables(name)):
                with self.server.connect() as connection:
                    connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _empty_tables(self, name: str) -> bool:
        """Make the database usable for another test. False if a test has dropped a table."""
        # Each new database makes PostgreSQL write all of its memory to the disk, so this is faster.
        with self.server.connect(name) as connection, suppress(psycopg.errors.UndefinedTable):
            # Waits for their end. Until then, they might hold locks that the next test needs.
            end = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            connection.execute(
                f"{end} WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")
            self._empty.append(name)
            return True
        return False
