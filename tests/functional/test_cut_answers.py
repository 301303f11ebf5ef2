"""A truncated response is never accepted as complete, wherever it was cut off."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faulty_proxy import FaultyProxy
from support.servers import serve_bytes
from support.settings import embedded_settings

from rollcall.core.errors import ObjectChanged, StoreUnavailable
from rollcall.core.types import ObjectInfo
from rollcall.stores.boto import dynamodb_client, dynamodb_resource, s3_client, sqs_client
from rollcall.stores.dynamodb import DynamoStudents, ensure_table, put_items
from rollcall.stores.s3 import S3Store
from rollcall.stores.sqs import SqsQueue, create_queue

STEP_BYTES = 7
NAME = f"cut-{uuid.uuid4().hex[:12]}"
BODY = b"0123456789" * 20


class Services:
    """One record, one object and one message, behind a proxy that cuts responses."""

    def __init__(self, link: FaultyProxy, folder: Path) -> None:
        settings = embedded_settings(link.url, SQS_ENDPOINT_URL=link.url)
        self.link, self._folder = link, folder
        dynamodb = dynamodb_client(settings)
        ensure_table(dynamodb, NAME)
        record = {"name": "bob", "major": "history", "year": "senior"}
        put_items(dynamodb_resource(settings), NAME, [record])
        self.students = DynamoStudents(dynamodb, NAME)
        self.store = S3Store(s3_client(settings))
        self.store.create_bucket(NAME)
        self.store.write(NAME, "key", BODY, "text/plain", {"source-etag": "e"})
        self.info = self.store.head(NAME, "key")
        queues = sqs_client(settings)
        self.queue = SqsQueue(queues, create_queue(queues, NAME))
        self.queue.send("body", {})

    def download(self, info: ObjectInfo) -> bytes:
        path = self._folder / uuid.uuid4().hex
        self.store.download(info, path)
        return path.read_bytes()


@pytest.fixture(scope="module")
def services(moto_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with FaultyProxy("store", moto_url) as link:
        yield Services(link, tmp_path_factory.mktemp("cut"))


REQUESTS: dict[str, Callable[[Services], Any]] = {
    "record": lambda services: services.students.get("bob"),
    "list": lambda services: list(services.store.list_objects(NAME)),
    "read": lambda services: services.store.read(NAME, "key", 1000),
    "range": lambda services: services.store.read_range(services.info, 5, 150),
    "download": lambda services: services.download(services.info),
    "metadata": lambda services: dict(services.store.metadata(NAME, "key")),
    "messages": lambda services: [message.body for message in services.queue.receive(10, 0, 0)],
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_truncated_answer_is_retried_or_means_unavailable(services: Services, name: str) -> None:
    ask = REQUESTS[name]
    right = ask(services)
    assert right
    refused = 0
    for length in range(0, services.link.answer_bytes, STEP_BYTES):
        services.link.break_next(f"first {length}")
        try:
            found = ask(services)
        except StoreUnavailable:
            refused += 1
        else:
            # botocore repeats a request whose connection was lost.
            assert found == right, f"after {length} bytes"
    assert refused > 10


@pytest.mark.parametrize(
    "headers",
    ["Content-Length: 10\r\nLast-Modified: Sat, 21 Nov 20", "Content-Length: 10\r\nETag: x"],
)
def test_truncated_headers_in_another_order_are_noticed(headers: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\n{headers}".encode()
    with serve_bytes(answer) as url:
        store = S3Store(s3_client(embedded_settings(url)))
        with pytest.raises(StoreUnavailable, match="no complete answer"):
            store.read("b", "key", 100)


def test_the_error_for_an_answer_without_length_names_a_cause() -> None:
    with serve_bytes(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}") as url:
        students = DynamoStudents(dynamodb_client(embedded_settings(url)), "t")
        with pytest.raises(StoreUnavailable, match=r"HTTP/1\.0"):
            students.get("bob")


@pytest.mark.filterwarnings("ignore:tzname G")  # cut inside the time zone
def test_an_object_described_by_truncated_headers_is_not_downloaded(services: Services) -> None:
    """A truncated Content-Length is still a number, so only reading the body shows the error."""
    services.store.head(NAME, "key")
    refused = 0
    for length in range(services.link.answer_bytes):
        services.link.break_next(f"first {length}")
        try:
            found = services.store.head(NAME, "key")
        except StoreUnavailable:
            refused += 1
            continue
        if found != services.info:
            with pytest.raises(ObjectChanged):
                services.download(found)
    assert refused > 100
