"""SNS messages: signatures, certificates, and which messages are accepted."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from support.settings import embedded_settings
from support.sns import CERTIFICATE_URL, NOW, TOPIC, Signer, certificate
from support.waiting import wait_until

from rollcall.core.errors import BadEvent, StoreUnavailable
from rollcall.stores.boto import topic_client
from rollcall.trigger import sns
from rollcall.trigger.sns import SnsGate, fetch_certificate
from rollcall.trigger.sns_signature import MAX_CERTIFICATES, SnsSignatures


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


class Pages:
    """Stands in for AWS: returns the certificate for every URL, and records the URLs."""

    def __init__(self, pem: bytes) -> None:
        self.pem = pem
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        return self.pem


def refused(message: dict[str, Any], pages: Pages) -> str:
    with pytest.raises(BadEvent) as caught:
        SnsSignatures(pages).check(message)
    return str(caught.value)


MESSAGES = {
    "notification": lambda signer, **more: signer.notification('{"a": "é\\u2028"}', **more),
    "with a subject": lambda signer, **more: signer.notification("m", Subject="s", **more),
    "subscription": lambda signer, **more: signer.subscription(**more),
    "unsubscription": lambda signer, **more: signer.subscription(
        Type="UnsubscribeConfirmation", **more
    ),
}


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_that_aws_signed_is_accepted(signer: Signer, kind: str, version: str) -> None:
    pages = Pages(signer.pem)
    SnsSignatures(pages).check(MESSAGES[kind](signer, SignatureVersion=version))
    assert pages.asked == [CERTIFICATE_URL]


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_that_was_changed_after_signing_is_refused(signer: Signer, kind: str) -> None:
    message = MESSAGES[kind](signer)
    unsigned = {"SigningCertURL", "Signature", "SignatureVersion"}
    for name in message.keys() - unsigned - {"Type"}:
        changed = {**message, name: message[name] + " "}
        if name == "TopicArn":
            changed[name] = TOPIC.replace("videos", "others")
        assert "signature is wrong" in refused(changed, Pages(signer.pem)), name


def test_a_notification_cannot_be_turned_into_a_subscription(signer: Signer) -> None:
    message = {**signer.notification("m"), "Type": "SubscriptionConfirmation"}
    refused({**message, "Token": "t", "SubscribeURL": "u"}, Pages(signer.pem))
    refused(message, Pages(signer.pem))


def test_a_message_signed_with_another_key_is_refused(signer: Signer) -> None:
    assert "wrong" in refused(Signer().notification("m"), Pages(signer.pem))


@pytest.mark.parametrize(
    "fields",
    [
        {"SignatureVersion": "3"},
        {"SignatureVersion": None},
        {"SignatureVersion": ["1"]},
        {"Signature": None},
        {"Signature": "%"},
        {"Signature": ""},
        {"Signature": ["a"]},
        {"Message": None},
        {"Message": 3},
        {"MessageId": ["m"]},
        {"Timestamp": {}},
        {"TopicArn": 5},
        {"Type": []},
    ],
    ids=repr,
)
def test_a_message_with_odd_fields_is_a_bad_event(signer: Signer, fields: dict[str, Any]) -> None:
    refused({**signer.notification("m"), **fields}, Pages(signer.pem))


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "TopicArn", "Type"])
def test_a_message_without_a_signed_field_is_a_bad_event(signer: Signer, name: str) -> None:
    message = signer.notification("m")
    del message[name]
    refused(message, Pages(signer.pem))


ELSEWHERE = [
    None,
    ["https://sns.eu-west-1.amazonaws.com/x.pem"],
    "",
    "http://sns.eu-west-1.amazonaws.com/x.pem",
    "https://sns.us-east-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com.example.org/x.pem",
    "https://example.org/sns.eu-west-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com@example.org/x.pem",
    "https://a@sns.eu-west-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com:8443/x.pem",
    "https://sns.eu-west-1.amazonaws.com/a/../x.pem",
    "https://sns.eu-west-1.amazonaws.com/x.pem?y",
    "https://sns.eu-west-1.amazonaws.com/x.pem#y",
    "https://sns.eu-west-1.amazonaws.com/x.pem\n",
    "https://sns.eu-west-1.amazonaws.com/x.txt",
    "https://s3.eu-west-1.amazonaws.com/x.pem",
    "https://snsXeu-west-1.amazonaws.com/x.pem",
    "https://sns.eu-west-1.amazonaws.com\\@example.org/x.pem",
    "https://127.0.0.1/x.pem",
    "file:///etc/passwd",
]


@pytest.mark.parametrize("url", ELSEWHERE, ids=repr)
def test_a_certificate_is_never_fetched_from_another_address(signer: Signer, url: Any) -> None:
    pages = Pages(signer.pem)
    message = {**signer.notification("m"), "SigningCertURL": url}
    assert "not at an address" in refused(message, pages)
    assert pages.asked == []


def test_a_certificate_is_fetched_once_and_refused_after_it_expires(signer: Signer) -> None:
    pages, now = Pages(signer.pem), [NOW]
    signatures = SnsSignatures(pages, lambda: now[0])
    for _ in range(3):
        signatures.check(signer.notification("m"))
    assert len(pages.asked) == 1
    now[0] += timedelta(days=2)
    with pytest.raises(BadEvent, match="has expired or is not valid yet"):
        signatures.check(signer.notification("m"))


def test_the_number_of_cached_certificates_is_limited(signer: Signer) -> None:
    pages = Pages(signer.pem)
    signatures = SnsSignatures(pages)
    for number in range(3 * MAX_CERTIFICATES):
        url = CERTIFICATE_URL.replace("-1.pem", f"-{number}.pem")
        signatures.check({**signer.notification("m"), "SigningCertURL": url})
    assert len(signatures._cache) <= MAX_CERTIFICATES


@pytest.mark.parametrize("pem", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nxx\n"])
def test_a_file_that_is_not_a_certificate_is_refused(signer: Signer, pem: bytes) -> None:
    assert "cannot be read" in refused(signer.notification("m"), Pages(pem))


def test_a_certificate_without_an_rsa_key_is_refused(signer: Signer) -> None:
    pem = certificate(ec.generate_private_key(ec.SECP256R1()), NOW + timedelta(days=1))
    assert "RSA" in refused(signer.notification("m"), Pages(pem))


# --- messages that another implementation signs


@contextmanager
def serve(status: int = 200, body: bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """Run a server with one answer for all requests, and yield its URL and the request bodies."""
    got: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()


def test_a_message_that_moto_signed_is_accepted(moto_url: str) -> None:
    topics = topic_client(embedded_settings(moto_url))
    arn = topics.create_topic(Name="signed")["TopicArn"]
    with serve() as (url, got):
        topics.subscribe(TopicArn=arn, Protocol="http", Endpoint=url)
        topics.publish(TopicArn=arn, Message='{"Records": []}')
        wait_until(lambda: got, "the message")
    message = json.loads(got[-1])

    def fetch(address: str) -> bytes:
        """moto serves the certificate, and chooses its service by the scope of a signature."""
        scope = "Credential=any/20260101/us-east-1/sns/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"}
        answer = httpx.get(f"{moto_url}{httpx.URL(address).path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.content

    SnsSignatures(fetch).check(message)
    with pytest.raises(BadEvent, match="signature is wrong"):
        SnsSignatures(fetch).check({**message, "Message": "other"})


# --- fetching


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, BadEvent),
        (403, BadEvent),
        (404, BadEvent),
        (429, StoreUnavailable),
        (503, StoreUnavailable),
    ],
)
def test_an_answer_other_than_200_is_not_a_certificate(status: int, error: type[Exception]) -> None:
    with serve(status, b"x") as (url, got):
        with pytest.raises(error):
            fetch_certificate(f"{url}/x.pem")
        assert len(got) == 1, "a redirection was followed"


def test_a_certificate_is_downloaded_unless_it_is_too_long() -> None:
    with serve(body=b"p" * 100) as (url, _):
        assert fetch_certificate(url) == b"p" * 100
    too_long = b"p" * (sns.MAX_CERTIFICATE_BYTES + 1)
    with serve(body=too_long) as (url, _), pytest.raises(BadEvent, match="too long"):
        fetch_certificate(url)


def test_an_unreachable_address_is_a_temporary_error() -> None:
    with pytest.raises(StoreUnavailable, match="fetching"):
        fetch_certificate("http://127.0.0.1:1/x.pem")


# --- the gate


class Gate:
    """A gate, and the list of subscriptions that it confirmed."""

    def __init__(self, *arns: str, pages: Pages | None = None) -> None:
        self.confirmed: list[tuple[str, str]] = []
        check = SnsSignatures(pages).check if pages else None
        confirm = lambda arn, token: self.confirmed.append((arn, token))  # noqa: E731
        self.gate = SnsGate(frozenset(arns), confirm, check)

    def admit(self, message: Any) -> bool:
        return self.gate.admit(json.dumps(message).encode())


def test_a_signed_notification_of_an_allowed_topic_is_admitted(signer: Signer) -> None:
    gate = Gate(TOPIC, pages=Pages(signer.pem))
    assert gate.admit(signer.notification("m"))
    assert gate.admit(signer.subscription(Type="UnsubscribeConfirmation"))
    assert gate.confirmed == []


def test_a_signed_subscription_to_an_allowed_topic_is_confirmed(signer: Signer) -> None:
    gate = Gate(TOPIC, pages=Pages(signer.pem))
    assert not gate.admit(signer.subscription())
    assert gate.confirmed == [(TOPIC, "the-token-of-sns")]


@pytest.mark.parametrize("kind", MESSAGES)
def test_for_messages_of_other_topics_no_certificate_is_fetched(signer: Signer, kind: str) -> None:
    """Anyone with an AWS account can make SNS sign a message."""
    pages = Pages(signer.pem)
    gate = Gate(TOPIC + "x", pages=pages)
    with pytest.raises(BadEvent, match="SNS_TOPIC_ARNS"):
        gate.admit(MESSAGES[kind](signer))
    assert (gate.confirmed, pages.asked) == ([], [])


@pytest.mark.parametrize("kind", MESSAGES)
def test_unsigned_messages_are_refused(signer: Signer, kind: str) -> None:
    gate = Gate(TOPIC, pages=Pages(signer.pem))
    message = MESSAGES[kind](signer)
    for name in ("Signature", "SignatureVersion", "SigningCertURL"):
        with pytest.raises(BadEvent):
            gate.admit({each: value for each, value in message.items() if each != name})
    with pytest.raises(BadEvent):
        gate.admit({**message, "Signature": base64.b64encode(b"x" * 256).decode()})
    assert gate.confirmed == []


def test_without_a_check_unsigned_messages_are_accepted(signer: Signer) -> None:
    gate = Gate(TOPIC)
    assert gate.admit({"Type": "Notification", "Message": "m"})
    assert not gate.admit({"Type": "SubscriptionConfirmation", "TopicArn": TOPIC, "Token": "t"})
    with pytest.raises(BadEvent):
        gate.admit({"Type": "SubscriptionConfirmation", "TopicArn": "other", "Token": "t"})
    assert gate.confirmed == [(TOPIC, "t")]


@pytest.mark.parametrize(
    "document",
    [
        {"Records": [], "Type": "SubscriptionConfirmation"},
        {"Type": "other"},
        {"bucket": "b", "key": "k"},
        [],
        3,
    ],
    ids=repr,
)
def test_a_body_that_is_not_from_sns_is_admitted_for_parsing(document: Any) -> None:
    gate = Gate(pages=Pages(b""))
    assert gate.admit(document)
    assert gate.gate.admit(b"not json")
