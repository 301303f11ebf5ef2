"""A trigger that is killed loses no message about a result."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from support.flow_processes import inherited_environ
from support.needs import REPOSITORY
from support.servers import Reply, serve_function
from support.settings import TOKEN, embedded_values
from support.waiting import wait_until
from support.webhook_receiver import OK, SECRET, receiving

from devstack.processes import Process, Processes, answers, free_port
from rollcall.database.database import Database
from tests.functional.test_trigger import event
from tests.functional.test_webhook_trigger import answered

VIDEOS = 10


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_killed_trigger_loses_no_message(
    kind: str, request: pytest.FixtureRequest, moto_url: str, tmp_path: Path
) -> None:
    database_url = (
        f"sqlite:///{tmp_path}/inbox.sqlite3"
        if kind == "sqlite"
        else request.getfixturevalue("postgres_url")
    )
    killed = threading.Event()

    def answer(number: int) -> Reply | None:
        if killed.is_set():
            return OK
        killed.wait(120)
        return None

    with (
        Processes() as processes,
        serve_function(lambda call: answered("recognised")) as gateway,
        receiving(answer) as (receiver, webhook_url),
    ):
        url = f"http://127.0.0.1:{free_port()}"
        values = embedded_values(
            moto_url,
            DATABASE_URL=database_url,
            OPENFAAS_GATEWAY=gateway,
            TRIGGER_LISTEN=url.removeprefix("http://"),
            RESULT_WEBHOOK_URL=webhook_url,
            RESULT_WEBHOOK_SECRET=SECRET,
        )

        def start() -> Process:
            argv = [sys.executable, str(REPOSITORY / "trigger_openfaas.py")]
            process = Process("trigger", argv, inherited_environ() | values, tmp_path)
            processes.add(process).wait_ready(answers(url + "/healthz"))
            return process

        first = start()
        for number in range(VIDEOS):
            body = event(f"{number}.mp4", TOKEN)
            httpx.post(url + "/events", content=body, timeout=60).raise_for_status()
        wait_until(lambda: count(database_url, "finished") == VIDEOS, "all calls")
        wait_until(lambda: len(receiver.deliveries) == 2, "two deliveries to begin")
        first.kill()
        killed.set()
        begun = {delivery.message_id for delivery in receiver.deliveries}
        if kind == "postgresql":
            # Other triggers may be using these messages, so only time ends their leases.
            end_leases(database_url)
        start()
        wait_until(lambda: count(database_url, "notice") == 0, "all messages")
        messages = {
            delivery.message_id: delivery.event["subject"] for delivery in receiver.deliveries
        }
        assert sorted(messages.values()) == sorted(f"{number}.mp4" for number in range(VIDEOS))
        assert len(receiver.deliveries) == VIDEOS + 2
        assert begun <= {delivery.message_id for delivery in receiver.deliveries[2:]}


def end_leases(url: str) -> None:
    with closing(Database(url)) as database, database.transaction() as connection:
        connection.execute(text("UPDATE notice SET lease_until_s=0 WHERE state='running'"))


def count(url: str, table: str) -> int:
    with closing(Database(url)) as database, database.reading() as connection:
        rows: int = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
        return rows
