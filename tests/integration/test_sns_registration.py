"""`--register --via sns` and `--unregister` on moto, which serves SNS and bucket notifications."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.flow_processes import TRIGGER_TOKEN
from support.needs import REPOSITORY
from support.waiting import wait_until

from devstack.processes import Process, Processes, free_port
from devstack.store_servers import EmbeddedStore, Place
from rollcall.cli.trigger_command import main
from rollcall.core.settings import Settings, parse_settings
from rollcall.stores.boto import s3_client, topic_client
from rollcall.trigger.notifications import register, unregister


class AcceptAll(BaseHTTPRequestHandler):
    """Answers every request with 200, so a subscription finds its endpoint reachable."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), AcceptAll) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def values(tmp_path: Path) -> Iterator[dict[str, str]]:
    with Processes() as running:
        store = EmbeddedStore(Place(tmp_path, {}, running))
        store.start()
        keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        yield {**keys, "S3_ENDPOINT_URL": store.url, "TRIGGER_TOKEN": TRIGGER_TOKEN}


def configured(settings: Settings) -> tuple[Any, Any]:
    bucket = settings.input_bucket
    present = s3_client(settings).get_bucket_notification_configuration(Bucket=bucket)
    present.pop("ResponseMetadata")
    topics = topic_client(settings)
    return present, (topics.list_topics()["Topics"], topics.list_subscriptions()["Subscriptions"])


def test_unregistering_removes_everything_that_was_registered(
    values: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # so that no credentials.env is read
    settings = parse_settings(values)

    register(settings, address, "sns")
    once = configured(settings)
    register(settings, address, "sns")

    assert configured(settings) == once
    for _ in range(2):
        answer = CliRunner().invoke(main, ["--unregister", "--via", "sns"], env=values)
        assert answer.exit_code == 0, answer.output
        present, (topics, subscriptions) = configured(settings)
        assert not present.get("TopicConfigurations")
        assert not topics
        assert not subscriptions


def test_a_trigger_with_a_wrong_address_does_not_start_and_changes_nothing(
    values: dict[str, str], address: str, tmp_path: Path
) -> None:
    """At `address` another server answers; the other two addresses are closed or not a URL."""
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "RECONCILE_S": "3600",
        "TRIGGER_LISTEN": f"127.0.0.1:{port}",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'inbox.sqlite3'}",
        **values,
    }
    argv = [sys.executable, str(REPOSITORY / "trigger_openfaas.py"), "--register", "--via", "sns"]
    for wrong in (address, f"http://127.0.0.1:{free_port()}", "127.0.0.1:8090"):
        command = [*argv, "--advertise", wrong]
        done = subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 2, done.stderr
        assert f"error: --advertise {wrong}: " in done.stderr
        assert s3_client(parse_settings(values)).list_buckets()["Buckets"] == []
    own = f"http://127.0.0.1:{port}"
    with Processes() as running:
        process = Process("trigger", [*argv, "--advertise", own], env, tmp_path)
        running.add(process)
        settings = parse_settings(values)
        wait_until(
            lambda: "notifications of" in process.log.read_text(), "the registration of the trigger"
        )
        assert configured(settings)[1][0]


def test_unregistering_a_missing_bucket_does_nothing(values: dict[str, str]) -> None:
    unregister(parse_settings(values), "sns")


def test_register_and_unregister_cannot_be_combined() -> None:
    answer = CliRunner().invoke(main, ["--register", "--advertise", "http://x", "--unregister"])

    assert answer.exit_code == 2
