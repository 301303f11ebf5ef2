"""An answer that breaks off, wherever it does, is never taken for a whole one."""

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


class Place:
    """One record, one object and one message, seen through a link that breaks."""

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
def place(moto_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with FaultyProxy("store", moto_url) as link:
        yield Place(link, tmp_path_factory.mktemp("cut"))


ASKED: dict[str, Callable[[Place], Any]] = {
    "record": lambda place: place.students.get("bob"),
    "list": lambda place: list(place.store.list_objects(NAME)),
    "read": lambda place: place.store.read(NAME, "key", 1000),
    "range": lambda place: place.store.read_range(place.info, 5, 150),
    "download": lambda place: place.download(place.info),
    "metadata": lambda place: dict(place.store.metadata(NAME, "key")),
    "messages": lambda place: [message.body for message in place.queue.receive(10, 0, 0)],
}


@pytest.mark.parametrize("what", ASKED)
def test_an_answer_that_breaks_off_is_a_store_that_does_not_answer(place: Place, what: str) -> None:
    ask = ASKED[what]
    right = ask(place)
    assert right
    refused = 0
    for length in range(0, place.link.answer_bytes, STEP_BYTES):
        place.link.break_next(f"first {length}")
        try:
            found = ask(place)  # whole, because botocore asks again after a lost connection
        except StoreUnavailable:
            refused += 1
        else:
            assert found == right, f"after {length} bytes"
    assert refused > 10


@pytest.mark.parametrize(
    "headers",
    ["Content-Length: 10\r\nLast-Modified: Sat, 21 Nov 20", "Content-Length: 10\r\nETag: x"],
)
def test_headers_in_another_order_break_off_too(headers: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\n{headers}".encode()
    with serve_bytes(answer) as url:
        store = S3Store(s3_client(embedded_settings(url)))
        with pytest.raises(StoreUnavailable, match="no complete answer"):
            store.read("b", "key", 100)


def test_an_answer_without_length_names_the_way_out() -> None:
    with serve_bytes(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}") as url:
        students = DynamoStudents(dynamodb_client(embedded_settings(url)), "t")
        with pytest.raises(StoreUnavailable, match=r"HTTP/1\.0"):
            students.get("bob")


@pytest.mark.filterwarnings("ignore:tzname G")  # half a time zone
def test_headers_that_break_off_never_describe_an_object(place: Place) -> None:
    """Half a number is a number: whoever reads the object finds out."""
    place.store.head(NAME, "key")
    refused = 0
    for length in range(place.link.answer_bytes):
        place.link.break_next(f"first {length}")
        try:
            found = place.store.head(NAME, "key")
        except StoreUnavailable:
            refused += 1
            continue
        if found != place.info:
            with pytest.raises(ObjectChanged):
                place.download(found)
    assert refused > 100
