"""The flow `lambda` on this machine: bucket -> queue -> event source mapping -> handler -> CSV."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.settings import embedded_settings
from support.waiting import wait_until

from devstack.event_source import EventSourceMapping, QueueSource, failed_messages
from devstack.flows import FLOWS
from devstack.lambda_api import LocalLambda
from devstack.lambda_environment import LocalFunction
from devstack.lambda_stack import LambdaStack
from devstack.processes import StartFailed
from rollcall.cli.check import Checker
from rollcall.cli.students import upload_students
from rollcall.core.errors import SettingsError
from rollcall.core.expectations import parse_mapping
from rollcall.core.result_messages import parse_result
from rollcall.stores.boto import lambda_client, s3_client, sqs_client
from rollcall.stores.s3 import S3Store
from rollcall.stores.sqs import SqsQueue, create_queue
from rollcall.worker.lambda_function import Answer, LambdaFunction

DEADLINE_S = 240.0
SENT = {"a", "b"}


@pytest.mark.parametrize(
    ("payload", "failed"),
    [
        (b"null", set()),
        (b"{}", set()),
        (b'{"batchItemFailures": []}', set()),
        (b'{"batchItemFailures": null}', set()),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}]}', {"b"}),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', SENT),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', SENT),
        (b'{"batchItemFailures": [{"itemIdentifier": "z"}]}', SENT),
        (b'{"batchItemFailures": [{"messageId": "b"}]}', SENT),
        (b'{"batchItemFailures": ["b"]}', SENT),
        (b"no json", SENT),
        (b'"text"', SENT),
    ],
)
def test_which_messages_count_as_failed(payload: bytes, failed: set[str]) -> None:
    assert failed_messages(Answer(payload), SENT) == failed
    assert failed_messages(Answer(payload, "Unhandled"), SENT) == SENT


BATCHES = """
import json

def handle(event, context):
    bodies = {record["messageId"]: json.loads(record["body"]) for record in event["Records"]}
    print(json.dumps(sorted(body["name"] for body in bodies.values())))
    if any(body.get("crash") for body in bodies.values()):
        raise RuntimeError
    failed = [name for name, body in bodies.items() if body.get("fail")]
    return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}
"""


def message_count(sqs: Any, url: str) -> int:
    """Return the number of messages in a queue, including those that are being processed."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
    return sum(map(int, answer["Attributes"].values()))


class Batches:
    """A queue with a dead-letter queue, and a function that fails on messages that ask for it."""

    def __init__(self, url: str, folder: Path) -> None:
        name = uuid.uuid4().hex[:8]
        self.settings = embedded_settings(url, SQS_ENDPOINT_URL=url)
        self.sqs = sqs_client(self.settings)
        self.dead = SqsQueue(self.sqs, create_queue(self.sqs, f"dead-{name}"))
        self.url = create_queue(self.sqs, f"in-{name}")
        self.arn = f"arn:aws:sqs:us-east-1:123456789012:in-{name}"
        redrive = {"deadLetterTargetArn": self.arn.replace("in-", "dead-"), "maxReceiveCount": 2}
        attributes = {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": "1"}
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes=attributes)
        (folder / "batches.py").write_text(BATCHES)
        self._dead_letters: list[str] = []
        self.function = LocalFunction(
            name="batches", handler="batches.handle", code=folder, logs=folder,
            environ={"PATH": os.environ["PATH"]},
        )  # fmt: skip

    def send(self, **message: Any) -> None:
        self.sqs.send_message(QueueUrl=self.url, MessageBody=json.dumps(message))

    def mapping(self, lam: LocalLambda) -> EventSourceMapping:
        values = {
            "SQS_ENDPOINT_URL": self.settings.sqs_endpoint_url,
            "LAMBDA_ENDPOINT_URL": lam.url,
        }
        client = lambda_client(embedded_settings(self.settings.s3_endpoint_url, **values))
        source = QueueSource(
            client=self.sqs, url=self.url, arn=self.arn, batch_size=10, concurrency=1
        )
        return EventSourceMapping(source, LambdaFunction(client, "batches"))

    def dead_letters(self) -> list[str]:
        """Return the names in all dead letters until now, in alphabetical order."""
        for each in self.dead.receive(10, 0, 60):
            self._dead_letters.append(json.loads(each.body)["name"])
            self.dead.delete(each)
        return sorted(self._dead_letters)


def test_only_the_failed_message_of_a_batch_is_delivered_again(
    moto_url: str, tmp_path: Path
) -> None:
    batches = Batches(moto_url, tmp_path)
    for name in ("one", "two", "three"):
        batches.send(name=name, fail=name == "two")
    with LocalLambda(batches.function) as lam, batches.mapping(lam):
        wait_until(
            lambda: batches.dead_letters() == ["two"], "the dead letter of the failing message"
        )
    assert message_count(batches.sqs, batches.url) == 0
    runs = [json.loads(line) for line in (tmp_path / "batches-1.log").read_text().splitlines()]
    assert runs == [["one", "three", "two"], ["two"]]


def test_a_batch_whose_invocation_fails_is_delivered_again_as_a_whole(
    moto_url: str, tmp_path: Path
) -> None:
    batches = Batches(moto_url, tmp_path)
    batches.send(name="good")
    batches.send(name="bad", crash=True)
    with LocalLambda(batches.function) as lam, batches.mapping(lam):
        wait_until(
            lambda: batches.dead_letters() == ["bad", "good"], "the dead letters of both messages"
        )
        assert lam.counts()["errors"] == lam.counts()["invocations"] == 2


# The whole flow


@pytest.fixture(scope="module")
def stack(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaStack]:
    overrides = {"ENCODINGS": str(sample / "encoding"), "REPORT_BUCKET": "reports"}
    with LambdaStack(tmp_path_factory.mktemp("stack"), os.environ, overrides) as running:
        upload_students(running.settings, sample / "student_data.json")
        yield running


def test_every_result_is_correct_although_a_runtime_is_killed(
    stack: LambdaStack, sample: Path
) -> None:
    store = S3Store(s3_client(stack.settings))
    for video in sorted((sample / "videos").iterdir()):
        store.upload(video, stack.settings.input_bucket, video.name)
    pid, *_ = wait_until(stack.aws_lambda.pool.busy_pids, "a running invocation")
    os.kill(pid, signal.SIGKILL)
    rows = Checker(stack.settings, parse_mapping((sample / "mapping").read_text())).wait(DEADLINE_S)
    assert [row.video for row in rows if not row.right] == []
    counts = stack.aws_lambda.counts()
    assert counts["errors"] >= 1
    assert counts["invocations"] > len(rows)


def test_a_file_that_is_not_a_video_gets_a_report_and_no_retry(
    stack: LambdaStack, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    store, chosen = S3Store(s3_client(stack.settings)), stack.settings
    sqs = sqs_client(chosen)
    store.upload(tmp_path / "text.mp4", chosen.input_bucket, "text.mp4")
    reports = store.list_objects
    wait_until(lambda: "text.mp4.json" in {o.key for o in reports("reports")}, "a report")
    report = json.loads(store.read("reports", "text.mp4.json", 1 << 20))
    assert report["error"]["code"] == "not_a_video"
    wait_until(lambda: not message_count(sqs, stack.queue_url), "the deletion of the message")
    assert message_count(sqs, stack.dead_letters_url) == 0


def test_a_direct_call_is_answered_and_its_result_is_sent_to_the_queue(
    stack: LambdaStack, sample: Path, tmp_path: Path
) -> None:
    """The worker of the flow `openstack` calls the function in this way."""
    chosen = stack.settings
    sqs = sqs_client(chosen)
    results = SqsQueue(sqs, create_queue(sqs, "results"))
    described = stack.function()
    environ = {**described.environ, "RESULT_QUEUE_URL": results.url}
    store = S3Store(s3_client(chosen))
    with LocalLambda(replace(described, name="direct", logs=tmp_path, environ=environ)) as lam:
        store.upload(sample / "videos" / "cat.mp4", chosen.input_bucket, "direct/cat.mp4")
        call = json.dumps({"bucket": chosen.input_bucket, "key": "direct/cat.mp4"}).encode()
        answer = lam.pool.run(call)
        gone = lam.pool.run(json.dumps({"bucket": chosen.input_bucket, "key": "x.mp4"}).encode())
    document = json.loads(answer.payload)
    assert (document["statusCode"], document["status"]) == (200, "no_face")
    assert json.loads(gone.payload)["statusCode"] == 404
    first, second = (parse_result(each.body.encode()) for each in results.receive(10, 1, 1))
    assert (first.key, first.status, second.key, second.status) == (
        "direct/cat.mp4", "no_face", "x.mp4", "failed",
    )  # fmt: skip
    assert first.csv == store.read(chosen.output_bucket, "direct/cat.csv", 1 << 20).decode()


def test_an_unavailable_store_causes_a_function_error(stack: LambdaStack, tmp_path: Path) -> None:
    described = stack.function()
    environ = {**described.environ, "S3_ENDPOINT_URL": "http://127.0.0.1:1"}
    with LocalLambda(replace(described, name="cut-off", logs=tmp_path, environ=environ)) as lam:
        call = {"bucket": stack.settings.input_bucket, "key": "a.mp4"}
        answer = lam.pool.run(json.dumps(call).encode())
    assert answer.function_error == "Unhandled"
    document = json.loads(answer.payload)
    assert document["errorType"] == "TransientError"
    assert document["errorMessage"].startswith("store_unavailable: ")


def test_the_stack_does_not_start_with_an_invalid_setting(tmp_path: Path) -> None:
    """The function reports the error when the stack calls it with a test event."""
    running = LambdaStack(tmp_path, os.environ)
    running.values["TOLERANCE"] = "high"
    with pytest.raises(StartFailed, match="TOLERANCE has to be auto, or a number"), running:
        pass
    assert running.dead() == []


def test_the_flow_rejects_a_store_without_queues(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="STORE=embedded"):
        FLOWS["lambda"](tmp_path, os.environ, {}, "ceph")
