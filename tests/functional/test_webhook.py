"""Deliveries of the outbox to a real HTTP server that checks the signatures."""

from __future__ import annotations

import gzip
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.needs import REPOSITORY
from support.outboxes import LEASE_S, claimed, notice, states
from support.servers import Reply, serve_bytes, serve_function, serve_wsgi
from support.waiting import wait_until
from support.webhook_receiver import OK, SECRET, receiving
from support.work_queues import T0, Clock

from rollcall.core.errors import SettingsError
from rollcall.core.notices import StoredNotice
from rollcall.core.retry import AttemptResult
from rollcall.core.settings import parse_settings
from rollcall.core.webhook_signature import parse_secrets
from rollcall.database.database import IN_MEMORY, Database
from rollcall.database.tables import metadata
from rollcall.queues.consumer import ConsumerWaits
from rollcall.queues.sql_outbox import SqlOutbox
from rollcall.trigger.result_notices import ResultNotices
from rollcall.trigger.result_webhook import MIN_PAUSE_S, POLICY, OutboxSource, ResultWebhook
from rollcall.trigger.webhook import Receiver, build_receiver, read_status
from tests.unit.test_result_notices import ANSWER, WORK, result_of

QUICK_POLICY = replace(POLICY, max_attempts=4, first_delay_s=0.001, max_delay_s=0.002)
QUICK_WAITS = ConsumerWaits(idle_s=0.01, after_error_s=0.01, settle_again_s=0.01)
KEYS = parse_secrets(SECRET)
STORED = StoredNotice(1, "msg_1", '{"a": "ä"}', "running", 1, 1, T0, T0, "", "")


@pytest.fixture
def outbox() -> Iterator[SqlOutbox]:
    with closing(Database(IN_MEMORY)) as database:
        metadata.create_all(database.engine)
        yield SqlOutbox(database)


@contextmanager
def delivering(outbox: SqlOutbox, url: str, timeout_s: float = 20.0) -> Iterator[None]:
    """Run the deliveries with short pauses."""
    receiver = Receiver(url, KEYS, timeout_s=timeout_s)
    webhook = ResultWebhook(
        ResultNotices(), outbox, receiver, policy=QUICK_POLICY, waits=QUICK_WAITS
    )
    webhook.start()
    try:
        yield
    finally:
        webhook.stop()


def deliver(url: str, timeout_s: float = 20.0) -> AttemptResult:
    """Deliver one message once."""
    with closing(Receiver(url, KEYS, timeout_s=timeout_s)) as receiver:
        return receiver.deliver(STORED)


def empty(outbox: SqlOutbox) -> Callable[[], bool]:
    return lambda: not states(outbox)


# --- One delivery


def test_a_message_arrives_signed_as_structured_cloudevent() -> None:
    with receiving() as (receiver, url):
        result = deliver(url)
    (delivery,) = receiver.deliveries
    assert delivery.headers["content-type"] == "application/cloudevents+json"
    assert delivery.message_id == "msg_1"
    assert delivery.event["a"] == "ä"
    assert abs(int(delivery.headers["webhook-timestamp"]) - time.time()) < 60
    assert result.outcome == "done"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_a_success(status: int) -> None:
    with receiving(lambda number: (status, {}, b"")) as (_, url):
        assert deliver(url).outcome == "done"


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 410, 413, 429, 500, 502, 503, 504])
def test_every_other_status_is_a_failure(status: int) -> None:
    with receiving(lambda number: (status, {}, b"")) as (_, url):
        result = deliver(url)
    assert (result.outcome, result.code) == ("retry", f"http_{status}")
    assert f"answered {status}" in result.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    with (
        receiving() as (elsewhere, other),
        receiving(lambda number: (status, {"Location": other}, b"")) as (_, url),
    ):
        result = deliver(url)
    assert elsewhere.deliveries == []
    assert result.outcome == "retry"
    assert "set RESULT_WEBHOOK_URL to the new address" in result.message


def body_of(size: int) -> Reply:
    return 200, {}, b"x" * size


COMPRESSED: Reply = (200, {"Content-Encoding": "gzip"}, gzip.compress(b"received"))
CUT: Reply = (200, {"Content-Length": "1000"}, b"received")
HTML: Reply = (200, {"Content-Type": "text/html"}, b"<html>")


@pytest.mark.parametrize("answer", [body_of(10), body_of(5_000_000), COMPRESSED, CUT, HTML])
def test_the_body_of_a_success_does_not_matter(answer: Reply) -> None:
    with receiving(lambda number: answer) as (_, url):
        assert deliver(url).outcome == "done"


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"HTTP/1.1 200", b"HTTP/1.1 abc OK\r\n\r\n"])
def test_garbage_is_a_failure(garbage: bytes) -> None:
    with serve_bytes(garbage) as url:
        result = deliver(url)
    assert (result.outcome, result.code) == ("retry", "no_answer")


def test_a_slow_receiver_is_a_failure() -> None:
    over = threading.Event()

    def wait(number: int) -> Reply:
        over.wait(60)
        return OK

    with receiving(wait) as (_, url):
        result = deliver(url, timeout_s=0.3)
        over.set()
    assert (result.outcome, result.code) == ("retry", "no_answer")


def test_a_receiver_that_does_not_run_is_a_failure() -> None:
    assert deliver("http://127.0.0.1:9/").code == "no_answer"
    assert deliver("http://no-such-host.invalid/").code == "no_answer"


@pytest.mark.parametrize(
    ("header", "delay_s"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        (formatdate(T0 + 90, usegmt=True), 90.0),
        (formatdate(T0 - 90, usegmt=True), 0.0),
        ("Fri, 99 Nov 9999999 99:99:99 GMT", 0.0),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, delay_s: float) -> None:
    assert read_status(503, header, float(int(T0))).retry_after_s == pytest.approx(delay_s, abs=1)


# --- Addresses


def test_the_machine_s_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(call: dict[str, Any]) -> Reply:
        asked.append(call["path"])
        return OK

    with serve_function(answer) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "inside.example")
        assert deliver("http://receiver.example/hook").outcome == "done"
        assert deliver("http://inside.example/hook").outcome == "retry"
    assert asked == ["http://receiver.example/hook"]


class Quiet(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


@contextmanager
def https_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """A server with a certificate of its own; yields its URL and the certificate."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=receiver"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}/", certificate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def settings_for(url: str, bundle: str = "") -> Any:
    return parse_settings(
        {
            "RESULT_WEBHOOK_URL": url,
            "RESULT_WEBHOOK_SECRET": SECRET,
            "RESULT_WEBHOOK_CA_BUNDLE": bundle,
        }
    )


def test_only_a_known_ca_is_trusted(tmp_path: Path) -> None:
    with https_server(tmp_path) as (url, certificate):
        with closing(build_receiver(settings_for(url))) as strict:
            refused = strict.deliver(STORED)
        with closing(build_receiver(settings_for(url, str(certificate)))) as trusting:
            accepted = trusting.deliver(STORED)
    assert (refused.outcome, refused.code) == ("retry", "no_answer")
    assert "certificate" in refused.message
    assert accepted.outcome == "done"


@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_ca_that_cannot_be_read_stops_the_start(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match="RESULT_WEBHOOK_CA_BUNDLE"):
        build_receiver(settings_for("https://receiver.example/", str(path)))


# --- Deliveries of the outbox


def test_all_messages_are_delivered_and_deleted(outbox: SqlOutbox) -> None:
    outbox.add(notice(number, json.dumps({"number": number})) for number in range(30))
    with receiving() as (receiver, url), delivering(outbox, url):
        wait_until(empty(outbox), "all deliveries")
    assert sorted(event["number"] for event in receiver.events) == list(range(30))


def test_a_failed_delivery_is_repeated_with_the_same_id(outbox: SqlOutbox) -> None:
    answers: list[Reply | None] = [(500, {}, b""), None, (404, {}, b"no such page"), OK]
    outbox.add([notice()])
    with receiving(answers.__getitem__) as (receiver, url), delivering(outbox, url):
        wait_until(empty(outbox), "the delivery")
    assert [delivery.message_id for delivery in receiver.deliveries] == ["msg_1"] * 4


def test_a_message_is_given_up_after_all_attempts_and_can_be_replayed(outbox: SqlOutbox) -> None:
    up = threading.Event()
    outbox.add([notice()])
    with (
        receiving(lambda number: OK if up.is_set() else (500, {}, b"")) as (receiver, url),
        delivering(outbox, url),
    ):
        wait_until(lambda: states(outbox) == {"dead": 1}, "the message to be given up")
        (dead,) = outbox.dead(9)
        assert (dead.code, dead.attempts) == ("http_500", QUICK_POLICY.max_attempts)
        assert dead.message == "after 4 attempts: the receiver answered 500"
        up.set()
        outbox.replay()
        wait_until(empty(outbox), "the replayed message")
    assert {delivery.message_id for delivery in receiver.deliveries} == {"msg_1"}


def test_a_slow_delivery_does_not_stop_the_other_slot(outbox: SqlOutbox) -> None:
    over = threading.Event()

    def answer(number: int) -> Reply:
        if number == 0:
            over.wait(60)
        return OK

    outbox.add([notice(1), notice(2), notice(3)])
    with receiving(answer) as (receiver, url), delivering(outbox, url):
        wait_until(lambda: states(outbox) == {"running": 1}, "the other deliveries")
        over.set()
        wait_until(empty(outbox), "the slow delivery")
    assert len(receiver.deliveries) == 3


def test_a_receiver_that_is_gone_gets_nothing_more_until_a_restart(outbox: SqlOutbox) -> None:
    outbox.add([notice(1)])
    with receiving(lambda number: (410, {}, b"")) as (receiver, url), delivering(outbox, url):
        wait_until(lambda: receiver.deliveries, "the first delivery")
        wait_until(lambda: states(outbox) == {"queued": 1}, "its end")
        outbox.add([notice(2), notice(3)])
        time.sleep(0.3)
        assert len(receiver.deliveries) == 1
    with receiving() as (receiver, url), delivering(outbox, url):
        wait_until(empty(outbox), "the deliveries after the restart")
    assert sorted(delivery.message_id for delivery in receiver.deliveries) == [
        "msg_1",
        "msg_2",
        "msg_3",
    ]


# --- The source, with a clock that stands still


@pytest.fixture
def source(outbox: SqlOutbox, clock: Clock) -> OutboxSource:
    outbox.add([notice(1), notice(2)])
    return OutboxSource(outbox, clock)


@pytest.mark.parametrize(
    ("status", "retry_after", "pause_s"),
    [
        (429, "", MIN_PAUSE_S),
        (429, "120", 120.0),
        (503, "30", 30.0),
        (502, "", MIN_PAUSE_S),
        (504, "", MIN_PAUSE_S),
        (503, "999999999", 3600.0),
        (500, "30", 0.0),
    ],
)
def test_an_overloaded_receiver_gets_no_message_for_a_while(
    outbox: SqlOutbox,
    source: OutboxSource,
    clock: Clock,
    status: int,
    retry_after: str,
    pause_s: float,
) -> None:
    (first,) = source.claim(1)
    source.retry(first, read_status(status, retry_after, T0), 100_000.0)
    if pause_s:
        clock.now_s += pause_s - 0.1
        assert source.claim(1) == ()
        clock.now_s += 0.2
    assert [each.message_id for each in source.claim(1)] == ["msg_2"]


def test_a_shorter_pause_does_not_replace_a_longer_one(source: OutboxSource, clock: Clock) -> None:
    first, second = source.claim(2)
    source.retry(first, read_status(429, "60", T0), 0.0)
    source.retry(second, read_status(502, "", T0), 0.0)
    clock.now_s += 59
    assert source.claim(2) == ()


def test_the_messages_of_a_trigger_that_died_are_delivered_by_others(clock: Clock) -> None:
    with closing(Database(IN_MEMORY, clock)) as database:
        metadata.create_all(database.engine)
        outbox = SqlOutbox(database)
        outbox.add([notice()])
        claimed(outbox)  # and then that trigger dies
        source = OutboxSource(outbox, clock)
        assert source.claim(1) == ()
        clock.now_s += LEASE_S + 1
        assert [each.message_id for each in source.claim(1)] == ["msg_1"]


# --- The schedule


def test_a_message_is_tried_for_about_three_days() -> None:
    failed = AttemptResult("retry", "http_500")

    def total_s(jitter: float) -> float:
        class Fixed:
            def uniform(self, low: float, high: float) -> float:
                return low + (high - low) * jitter

        return sum(
            POLICY.delay_s(failed, attempt, attempt, Fixed())  # type: ignore[arg-type]
            for attempt in range(1, POLICY.max_attempts)
        )

    day_s = 86400
    assert 1.9 * day_s < total_s(0) < total_s(0.5) < total_s(1) < 4.1 * day_s
    assert total_s(0.5) == pytest.approx(3 * day_s, rel=0.05)


def test_the_first_retry_comes_soon_and_none_waits_longer_than_an_hour() -> None:
    failed = AttemptResult("retry", "http_500", retry_after_s=1e9)
    assert POLICY.first_delay_s == 5
    assert POLICY.max_delay_s == POLICY.min_delay_s(failed) == 3600


# --- The guide


def block(language: str) -> str:
    """The first block of code of the guide in this language."""
    guide = (REPOSITORY / "docs" / "webhook.md").read_text(encoding="utf-8")
    return guide.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_guide_s_receiver_accepts_messages_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESULT_WEBHOOK_SECRET", SECRET)
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile(block("python"), "guide", "exec"), names)
    stored = replace(STORED, body=block("json"))
    with serve_wsgi(names["app"]) as url:
        with closing(Receiver(url + "/hooks/rollcall", KEYS)) as receiver:
            assert [receiver.deliver(stored).outcome for _ in range(2)] == ["done", "done"]
        with closing(Receiver(url + "/hooks/rollcall", [b"x" * 24])) as stranger:
            assert stranger.deliver(stored).code == "http_401"
    assert capsys.readouterr().out == "week 1/lecture.mp4 recognised\n"


def test_the_guide_shows_every_field_of_a_message() -> None:
    written = ResultNotices("reports").write(WORK, result_of(ANSWER))
    assert written is not None
    assert shape(json.loads(block("json"))) == shape(json.loads(written.body))


def shape(value: Any) -> Any:
    """The names of all fields, in order, without their values."""
    if isinstance(value, dict):
        return [(name, shape(inner)) for name, inner in value.items()]
    return [shape(value[0])] if isinstance(value, list) and isinstance(value[0], dict) else None
