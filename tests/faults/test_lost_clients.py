"""PostgreSQL drops a client that vanished, before other triggers give up waiting for its locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from sqlalchemy import text
from support.net_hosts import NetHosts
from support.postgres import PostgresServer, postgres_folder
from support.waiting import wait_until

from rollcall.core.errors import InboxUnavailable
from rollcall.database.database import Database

INSERT = text("INSERT INTO seen VALUES ('the same video')")
TRY_LOCK = text("SELECT pg_try_advisory_lock(1)")


@pytest.fixture
def hosts() -> Iterator[NetHosts]:
    with NetHosts("test", "trigger", "database") as made, made["test"].entered():
        yield made


@pytest.fixture
def url(hosts: NetHosts) -> Iterator[str]:
    host = hosts["database"]
    with postgres_folder() as folder:
        server = PostgresServer(folder, host=host.address, prefix=host.prefix)
        server.create()
        server.start()
        with server.connect() as connection:
            connection.execute("CREATE TABLE seen (identity text PRIMARY KEY)")
        yield server.url()
        server.stop()


def test_locks_of_a_client_that_is_cut_off_end_before_others_give_up(
    hosts: NetHosts, url: str
) -> None:
    """Otherwise the lock of the open transaction would stop all work on this video for a minute,
    and the lock of the session would stop the reconciler for hours."""
    with closing(Database(url)) as other, ExitStack() as client:
        with hosts["trigger"].entered():
            database = client.enter_context(closing(Database(url)))
            session = client.enter_context(database.reading())
            assert session.execute(TRY_LOCK).scalar_one()
            session.rollback()  # the lock belongs to the session, not to the transaction
            client.enter_context(database.transaction()).execute(INSERT)
        hosts.cut("trigger", "database")
        with other.transaction() as connection:
            connection.execute(INSERT)
        with other.reading() as connection:
            wait_until(lambda: connection.execute(TRY_LOCK).scalar_one(), "the end of the session")
        hosts.heal()
        with pytest.raises(InboxUnavailable):
            client.close()
