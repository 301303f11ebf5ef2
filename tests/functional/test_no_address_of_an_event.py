"""Neither the trigger nor the function opens an address that an event names."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.connections import watched
from support.servers import done
from support.settings import TOKEN, embedded_settings
from support.sns import TOPIC, Signer

from rollcall.function.function_service import FunctionService
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.wiring import build_pipeline
from tests.functional.test_trigger import IN, running

TRAP = "trap.rollcall.test"


@pytest.fixture
def trap() -> Iterator[tuple[str, socket.socket]]:
    """A listening port to which nothing should connect."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        yield f"127.0.0.1:{listener.getsockname()[1]}", listener


def record(where: str, **changed: Any) -> dict[str, Any]:
    """Return a record with the address in every field that could contain one."""
    url = f"http://{where}/"
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": f"{where}/#",
        "endpoint": url,
        "eventName": "ObjectCreated:Put",
        "opaqueData": TOKEN,
        "requestParameters": {"sourceIPAddress": where},
        "responseElements": {"x-amz-id-2": url, "x-minio-origin-endpoint": url},
        "s3": {
            "configurationId": url,
            "bucket": {"name": IN, "arn": f"arn:aws:s3:{where}::{where}", "host": where},
            "object": {"key": f"{url}a.mp4", "versionId": url, "eTag": url, "location": url},
        },
        "source": {"host": where, "port": "80"},
        **changed,
    }


def hostile(where: str) -> list[dict[str, Any]]:
    url = f"http://{where}/"
    plain = {"Records": [record(where)]}
    other_bucket = record(where, s3={"bucket": {"name": where}, "object": {"key": "a.mp4"}})
    arns = [TOPIC, f"arn:aws:sns:{where}:1:x", f"arn:aws:sns:@{where}/#:1:x", url]
    messages = [
        {
            "Type": kind,
            "TopicArn": arn,
            "Token": url,
            "MessageId": url,
            "Timestamp": url,
            "Message": json.dumps(plain),
            "SubscribeURL": url,
            "UnsubscribeURL": url,
            "SigningCertURL": certificate,
            "SigningCertUrl": certificate,
            "SignatureVersion": "1",
            "Signature": "eA==",
        }
        for kind in ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")
        for arn in arns
        for certificate in (url, f"https://sns.eu-west-1.amazonaws.com@{where}/x.pem")
    ]
    sqs = {"Records": [{"eventSource": "aws:sqs", "awsRegion": where, "body": json.dumps(plain)}]}
    direct = {"bucket": IN, "key": url, "endpoint": url, "region": where}
    return [plain, {"Records": [other_bucket]}, sqs, direct, *messages]


def came(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("verify", ["yes", "no"])
def test_the_trigger_connects_to_no_address_of_an_event(
    trap: tuple[str, socket.socket], verify: str
) -> None:
    where, listener = trap
    own = {"SNS_VERIFY": verify, "SNS_TOPIC_ARNS": "arn:aws:sns:eu-west-1:1:another"}
    with running(lambda call: done(), **own) as trigger:
        with watched() as seen:
            for document in [*hostile(where), *hostile(TRAP)]:
                answer = trigger.post(json.dumps(document).encode(), **{"X-Trigger-Token": TOKEN})
                assert answer.status_code == 200
            trigger.settled()
        ports = {httpx.URL(trigger.url).port, httpx.URL(trigger.trigger._caller._url).port}
    allowed = {str(("127.0.0.1", port)) for port in ports}
    allowed |= {f"127.0.0.1:{port}" for port in ports}
    assert seen <= allowed
    assert seen, "the watcher sees nothing"
    assert not came(listener)


def test_only_aws_is_asked_for_the_certificate_of_a_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The certificate of a listed topic is the only thing that the trigger fetches by a URL of a
    message."""
    look_up = socket.getaddrinfo

    def look_up_here(host: Any, *args: Any, **others: Any) -> Any:
        """Find no name elsewhere, at once. Without a network, that could take half a minute."""
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "the test has no name server")
        return look_up(host, *args, **others)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    monkeypatch.setenv("no_proxy", "*")
    message = Signer().subscription()
    with running(lambda call: done(), SNS_TOPIC_ARNS=TOPIC) as trigger, watched() as seen:
        trigger.post(json.dumps(message).encode(), **{"X-Trigger-Token": TOKEN})
    names = {address for address in seen if "127.0.0.1" not in address and "::1" not in address}
    assert {name.rpartition(":")[0] for name in names} == {"sns.eu-west-1.amazonaws.com"}


def test_the_function_connects_only_to_its_own_store(
    moto_url: str, trap: tuple[str, socket.socket]
) -> None:
    where, listener = trap
    name = uuid.uuid4().hex[:8]
    settings = embedded_settings(moto_url, INPUT_BUCKET=IN, OUTPUT_BUCKET=f"out-{name}")
    for bucket in (IN, settings.output_bucket):
        S3Store(s3_client(settings)).create_bucket(bucket)
    service = FunctionService(lambda: build_pipeline(settings))
    headers = {
        "ce-type": "x.ObjectCreated:Put",
        "ce-source": f"x.{where}.{IN}",
        "ce-subject": where,
    }
    with watched() as seen:
        statuses = {
            service.answer(json.dumps(document).encode()).status
            for document in [*hostile(where), *hostile(TRAP)]
        }
        statuses.add(service.answer(b"", headers).status)
    assert statuses <= {200, 400, 404, 422}
    port = httpx.URL(moto_url).port
    assert seen <= {str(("127.0.0.1", port)), f"127.0.0.1:{port}"}
    assert seen, "the watcher sees nothing"
    assert not came(listener)
