"""The PostgreSQL pair of the failover tests replicates, fails over, and refuses to lose rows."""

from __future__ import annotations

import threading

import psycopg
import pytest
from support.net_hosts import NetHosts
from support.postgres_pair import DATABASE, PostgresPair
from support.waiting import wait_until

TABLE = "CREATE TABLE number (id serial)"
INSERT = "INSERT INTO number DEFAULT VALUES"
COUNT = "SELECT count(*) FROM number"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event='SyncRep' AND backend_type='client backend'"
)


def insert(pair: PostgresPair) -> None:
    with pair.primary.connect(DATABASE) as connection:
        connection.execute(INSERT)


def test_a_promoted_standby_has_every_confirmed_row_and_gets_a_new_standby() -> None:
    with PostgresPair() as pair:
        with psycopg.connect(pair.url(), autocommit=True) as client:
            client.execute(TABLE)
            for _ in range(20):
                client.execute(INSERT)
            pair.primary.kill()
            pair.promote()
            with pytest.raises(psycopg.OperationalError):
                client.execute(COUNT)
        with psycopg.connect(pair.url()) as client:
            assert client.execute(COUNT).fetchone() == (20,)
            assert client.info.host == pair.primary.host
        pair.add_standby()
        insert(pair)
        wait_until(lambda: pair.query(pair.standby, COUNT) == [(21,)], "the row on the standby")


def test_an_asynchronous_primary_confirms_rows_that_the_standby_lacks() -> None:
    with PostgresPair(synchronous=False) as pair:
        with pair.primary.connect(DATABASE) as connection:
            connection.execute(TABLE)
        pair.wait_replicated()
        pair.stop_receiving()
        insert(pair)
        pair.primary.kill()
        pair.promote()
        assert pair.query(pair.primary, COUNT) == [(0,)]


def test_a_synchronous_primary_that_is_cut_off_from_its_standby_confirms_nothing() -> None:
    with NetHosts("tester", "one", "two") as hosts, hosts["tester"].entered():
        nodes = hosts["one"], hosts["two"]
        with PostgresPair([n.address for n in nodes], [n.prefix for n in nodes]) as pair:
            with pair.primary.connect(DATABASE) as connection:
                connection.execute(TABLE)
            hosts.cut("one", "two")
            client = threading.Thread(target=insert, args=(pair,))
            client.start()
            wait_until(lambda: pair.query(pair.primary, WAITING) == [(1,)], "a waiting commit")
            assert client.is_alive()
            hosts.heal()
            client.join()
            assert pair.query(pair.primary, COUNT) == [(1,)]
