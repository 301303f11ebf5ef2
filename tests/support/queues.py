"""Buckets, queues and a stand-in for the Lambda, for tests of the worker."""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollcall.core.file_names import key_of_file
from rollcall.core.keys import result_key
from rollcall.core.results import render_csv
from rollcall.core.settings import parse_settings
from rollcall.core.types import Person, Student
from rollcall.stores.boto import s3_client, sqs_client
from rollcall.stores.s3 import S3Store
from rollcall.stores.sqs import Message, SqsQueue, create_queue
from rollcall.worker.result_files import result_files
from support.servers import Reply
from support.settings import embedded_values


class Queues:
    """Queues and buckets for one test on a moto server; `values` holds the worker's settings."""

    def __init__(self, url: str, folder: Path, **overrides: str) -> None:
        name = uuid.uuid4().hex[:8]
        kinds = {
            "INPUT_QUEUE_URL": "in",
            "RESULT_QUEUE_URL": "out",
            "DEAD_LETTER_QUEUE_URL": "dead",
        }
        urls = {setting: f"{url}/123456789012/{kind}-{name}" for setting, kind in kinds.items()}
        self.folder = folder / "results"
        self.values = {
            **embedded_values(url, INPUT_BUCKET=f"in-{name}", OUTPUT_BUCKET=f"out-{name}"),
            **urls,
            "SQS_ENDPOINT_URL": url,
            "RESULTS_FOLDER": str(self.folder),
            "VISIBILITY_TIMEOUT_S": "30",
            **overrides,
        }
        self.settings = parse_settings(self.values)
        self.store = S3Store(s3_client(self.settings))
        client = sqs_client(self.settings)
        for queue_url in urls.values():
            create_queue(client, queue_url.rpartition("/")[2])
        self.input, self.result, self.dead = (
            SqsQueue(client, queue_url) for queue_url in urls.values()
        )

    def event(self, key: str) -> str:
        """Return an event for a video with this key."""
        return json.dumps({"bucket": self.settings.input_bucket, "key": key})

    def result_message(self, key: str, **changes: Any) -> str:
        """Return the message that the Lambda sends when it has recognised a person in a video."""
        document = {
            "video": {"bucket": self.settings.input_bucket, "key": key},
            "output": {"bucket": self.settings.output_bucket, "key": result_key(key)},
            "status": "recognised",
            "csv": csv_of(key),
            "error": None,
        }
        return json.dumps({**document, **changes})

    def files(self) -> dict[str, str]:
        """Return the text of each result file by the key of its video."""
        return {
            key_of_file(path.as_posix()): (self.folder / path).read_bytes().decode()
            for path in result_files(self.folder)
        }

    def dead_letters(self) -> list[Message]:
        """Receive all dead letters, and leave them in their queue."""
        found: list[Message] = []
        # Invisible for a minute, so that none is received twice.
        while messages := self.dead.receive(10, 0, 60):
            found += messages
        for message in found:
            self.dead.change_visibility(message, 0)
        return found


def csv_of(key: str) -> str:
    """Return a result in which the person has the name of the video."""
    student = Student(key, "physics", "junior")
    return render_csv([Person(key, 0, 0, 1, 0.4)], {key: student}).decode()


class StandInLambda:
    """A Lambda that sends a result to the result queue for each call.

    If `before` returns an answer, that is the answer to the call, and no result is sent.
    """

    def __init__(
        self, queues: Queues, before: Callable[[int, str], Reply | None] = lambda number, key: None
    ) -> None:
        self._queues = queues
        self._before = before
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()

    def reply(self, call: dict[str, Any]) -> Reply:
        assert call["path"] == "/2015-03-31/functions/face-recognition/invocations"
        key = call["key"]
        with self._lock:
            self.calls[key] += 1
            number = self.calls.total()
        if answer := self._before(number, key):
            return answer
        work_id = call["work_id"]
        self._queues.result.send(self._queues.result_message(key, work_id=work_id), {})
        return 200, {}, json.dumps({"statusCode": 200, "status": "recognised"}).encode()


def function_error(text: str = "out of memory", kind: str = "Runtime.ExitError") -> Reply:
    """Return Lambda's answer to a failed invocation; `kind` is the error's class."""
    body = json.dumps({"errorType": kind, "errorMessage": text}).encode()
    return 200, {"X-Amz-Function-Error": "Unhandled"}, body
