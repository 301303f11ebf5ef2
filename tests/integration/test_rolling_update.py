"""Triggers on one PostgreSQL are replaced one by one, as in deploy/trigger/overlays/many."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from support.needs import REPOSITORY
from support.servers import Reply, serve_function
from support.waiting import wait_until

from devstack.processes import Process, Processes, answers, free_port
from rollcall.database.database import Database
from rollcall.queues.sql_queue import SqlQueue

TOKEN = "a-token-of-the-trigger"
REPLICAS = 3
CALL_S = 0.3
SEND_S = 0.05
"""Time between two events. Three triggers with two calls each keep up with that."""
ANSWER = json.dumps({"status": "no_face"}).encode()


class Function:
    """A function that takes a while, and counts the calls of each video."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.in_flight = 0
        self._lock = threading.Lock()

    def answer(self, call: dict[str, Any]) -> Reply:
        with self._lock:
            self.begun[call["key"]] += 1
            self.in_flight += 1
        time.sleep(CALL_S)
        with self._lock:
            self.in_flight -= 1
        return 200, {"Content-Type": "application/json"}, ANSWER


class Service:
    """A Kubernetes service: sends each event to the next of the triggers that are ready."""

    def __init__(self) -> None:
        self._ready: list[str] = []
        self._sending = threading.Lock()
        self.accepted: set[str] = set()
        self.refused: list[str] = []

    def add(self, address: str) -> None:
        with self._sending:
            self._ready.append(address)

    def remove(self, address: str) -> None:
        """Send nothing more to this trigger.

        Waits for the event that is being sent, as the preStop hook does with its pause.
        """
        with self._sending:
            self._ready.remove(address)

    def send(self, key: str, turn: int) -> None:
        with self._sending:
            self._send(key, self._ready[turn % len(self._ready)])

    def _send(self, key: str, address: str) -> None:
        event = {"bucket": "input-bucket-video", "key": key}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        try:
            answer = httpx.post(f"{address}/events", json=event, headers=headers, timeout=60)
        except httpx.HTTPError as error:
            self.refused.append(f"{key}: {error!r}")
            return
        if answer.is_success:
            self.accepted.add(key)
        else:
            self.refused.append(f"{key}: {answer.status_code}")


@pytest.fixture
def function() -> Iterator[tuple[Function, str]]:
    function = Function()
    with serve_function(function.answer) as url:
        yield function, url


@pytest.fixture
def environment(moto_url: str, postgres_url: str, function: tuple[Function, str]) -> dict[str, str]:
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    s3 = boto3.client("s3", endpoint_url=moto_url, region_name="us-east-1", **keys)
    for bucket in ("input-bucket-video", "output-bucket-vid"):
        s3.create_bucket(Bucket=bucket)
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "DATABASE_URL": postgres_url,
        "TRIGGER_TOKEN": TOKEN,
        "OPENFAAS_GATEWAY": function[1],
        "OPENFAAS_FUNCTION": "face-recognition",
        "S3_ENDPOINT_URL": moto_url,
        "S3_AWS_ACCESS_KEY_ID": "key",
        "S3_AWS_SECRET_ACCESS_KEY": "secret",
        "RECONCILE_S": "86400",
    }


def start(number: int, environment: dict[str, str], folder: Path) -> tuple[Process, str]:
    port = free_port()
    script = REPOSITORY / "trigger_openfaas.py"
    process = Process(
        f"trigger-{number}",
        [sys.executable, str(script)],
        environment | {"TRIGGER_LISTEN": f"127.0.0.1:{port}"},
        folder,
    )
    return process, f"http://127.0.0.1:{port}"


def test_an_update_loses_no_event_and_no_call(
    environment: dict[str, str], function: tuple[Function, str], tmp_path: Path
) -> None:
    service, stop = Service(), threading.Event()

    def send() -> None:
        turn = 0
        while not stop.is_set():
            service.send(f"{turn}.mp4", turn)
            turn += 1
            time.sleep(SEND_S)

    sender = threading.Thread(target=send)
    with Processes() as processes:
        old = [start(number, environment, tmp_path) for number in range(REPLICAS)]
        for process, address in old:
            processes.add(process).wait_ready(answers(f"{address}/readyz/events"))
            service.add(address)
        sender.start()
        try:
            for number, (process, address) in enumerate(old, REPLICAS):
                # maxSurge 1, maxUnavailable 0: a new pod is ready before an old one stops.
                new, new_address = start(number, environment, tmp_path)
                processes.add(new).wait_ready(answers(f"{new_address}/readyz/events"))
                service.add(new_address)
                wait_until(lambda: function[0].in_flight, "a call in flight")
                service.remove(address)
                os.kill(process.pid, signal.SIGTERM)
                assert process.wait(180) == 0
        finally:
            stop.set()
            sender.join()
        with closing(Database(environment["DATABASE_URL"])) as database:
            queue = SqlQueue(database)
            wait_until(lambda: queue.counts()["done"] == len(service.accepted), "every video")
            counts = queue.counts()
    assert service.refused == []
    assert len(service.accepted) > 20
    assert (counts["queued"], counts["running"], counts["dead"], counts["bad"]) == (0, 0, 0, 0)
    assert function[0].begun == dict.fromkeys(service.accepted, 1)
