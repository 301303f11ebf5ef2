"""Two PostgreSQL servers, a primary and its standby, with failover.

The standby receives the primary's changes by streaming replication. With synchronous replication
the primary confirms a commit only when the standby has it too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from support.flow_database import DATABASE
from support.postgres import USER, PostgresServer, postgres_folder
from support.waiting import wait_until

_OPTIONS = {
    # Tests kill processes, not the machine, and Linux keeps what a killed process has written.
    "fsync": "off",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "200ms",
    # After a partition, both sides notice soon that the connection between them is dead.
    "wal_sender_timeout": "4s",
    "wal_receiver_timeout": "4s",
}


class PostgresPair:
    """A context manager that runs the two servers, which listen on `addresses`.

    `prefixes` are put before the commands of the servers (`Host.prefix` in net_hosts.py).
    """

    def __init__(
        self,
        addresses: Sequence[str] = ("127.0.0.2", "127.0.0.3"),
        prefixes: Sequence[Sequence[str]] = ((), ()),
        *,
        synchronous: bool = True,
    ) -> None:
        self.synchronous = synchronous
        self._where = list(zip(addresses, prefixes, strict=True))
        self._exit = ExitStack()

    def __enter__(self) -> PostgresPair:
        try:
            self.primary, self.standby = self._servers = [
                self._exit.enter_context(_server(address, prefix))
                for address, prefix in self._where
            ]
            self.primary.create()
            self.primary.start()
            with self.primary.connect() as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            self.add_standby()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def url(self) -> str:
        """The URL that names both servers. libpq connects to the one that is the primary."""
        hosts = ",".join(f"{server.host}:{server.port}" for server in self._servers)
        return f"postgresql://{USER}@{hosts}/{DATABASE}?target_session_attrs=read-write"

    def direct_url(self) -> str:
        """The URL of the server that is the primary now."""
        return self.primary.url(DATABASE)

    def add_standby(self) -> None:
        """Copy the primary to the standby, start it, and wait until it follows.

        An earlier data folder of the standby is deleted.
        """
        primary, standby = self.primary, self.standby

        def deleted() -> bool:
            # The processes of a killed server end a moment later, and may still write.
            shutil.rmtree(standby.data, ignore_errors=True)
            return not standby.data.exists()

        wait_until(deleted, "the removal of the old data folder")
        source = ("-h", primary.host, "-p", str(primary.port), "-U", USER)
        copy = ("--checkpoint=fast", "--write-recovery-conf", "--no-sync")
        standby.program("pg_basebackup", "-D", str(standby.data), *source, *copy)
        standby.start()
        wait_until(self._follows, "the standby to follow the primary")
        if self.synchronous:
            self._set(primary, "synchronous_standby_names", "*")
            wait_until(lambda: self._states() == ["sync"], "synchronous replication")

    def wait_replicated(self) -> None:
        """Wait until the standby has applied everything that the primary has written."""
        ((written,),) = self.query(self.primary, "SELECT pg_current_wal_lsn()")
        applied = f"SELECT pg_last_wal_replay_lsn() >= '{written}'"
        wait_until(
            lambda: self.query(self.standby, applied) == [(True,)], "the standby to catch up"
        )

    def stop_receiving(self) -> None:
        """Let the standby receive no further changes, as if its connection were slow."""
        self._set(self.standby, "primary_conninfo", "")
        receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
        wait_until(
            lambda: self.query(self.standby, receivers) == [(0,)], "the end of the replication"
        )

    def promote(self) -> None:
        """Make the standby the primary. The old primary must not serve clients any more.

        The new primary has no standby, so it confirms commits alone.
        """
        with self.standby.connect() as connection:
            assert connection.execute("SELECT pg_promote(true, 60)").fetchone() == (True,)
        self.primary, self.standby = self.standby, self.primary

    def query(self, server: PostgresServer, statement: str) -> list[Any]:
        with server.connect(DATABASE) as connection:
            return connection.execute(statement).fetchall()

    def _follows(self) -> bool:
        return self._states() != []

    def _states(self) -> list[str]:
        """`sync` or `async` for each standby that follows the primary."""
        select = "SELECT sync_state FROM pg_stat_replication WHERE state='streaming'"
        return [state for (state,) in self.query(self.primary, select)]

    def _set(self, server: PostgresServer, name: str, value: str) -> None:
        with server.connect() as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")


@contextmanager
def _server(address: str, prefix: Sequence[str]) -> Iterator[PostgresServer]:
    with postgres_folder() as folder:
        server = PostgresServer(folder, host=address, options=_OPTIONS, prefix=prefix)
        try:
            yield server
        finally:
            server.stop()
