"""A bucket's notification -> queue -> event source mapping -> Lambda.

moto is S3, SQS and DynamoDB, `event_source` the mapping, `lambda_api` Lambda; the runtime, the
handler and everything below are what the image has.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import ClassVar

from devstack.build_context import assemble_image
from devstack.event_source import EventSourceMapping, QueueSource
from devstack.lambda_api import LocalLambda
from devstack.lambda_environment import LocalFunction
from devstack.processes import StartFailed
from devstack.stack import WORKERS, LocalStack
from devstack.store_servers import StoreName
from rollcall.core.keys import VIDEO_EXTENSIONS
from rollcall.core.settings import Settings
from rollcall.stores.boto import boto_errors, lambda_client, s3_client, sqs_client
from rollcall.stores.s3 import S3Store
from rollcall.stores.sqs import create_queue, let_bucket_send
from rollcall.stores.topics import notify_queue
from rollcall.worker.lambda_function import LambdaFunction

QUEUE = "rollcall-videos"
DEAD_LETTERS = "rollcall-dead-letters"
DELIVERIES = 5
VISIBILITY_S = 30
"""A message whose invocation failed comes again after so long. In the cloud it is half an hour."""

TEST_EVENT = json.dumps({"Event": "s3:TestEvent"}).encode()


class LambdaStack(LocalStack):
    """A store with a queue, and the function behind it."""

    parts = "store, queue and Lambda"
    not_on: ClassVar[Mapping[StoreName, str]] = {
        "ceph": "Ceph's gateway has no queues that Lambda could read; the flow lambda runs on the"
        " embedded store (STORE=embedded)"
    }

    def function(self) -> LocalFunction:
        """With the files of its image, and the settings of this stack."""
        return LocalFunction(
            name=self.settings.lambda_function,
            handler="handler.face_recognition_handler",
            code=self._image / "home" / "app",
            logs=self.folder,
            environ=self.environ,
            concurrency=WORKERS,
            timeout_s=self.call_limit_s,
        )

    def _flow_settings(self) -> dict[str, str]:
        return {"SQS_ENDPOINT_URL": self._store.settings()["DYNAMODB_ENDPOINT_URL"]}

    def _prepare(self) -> None:
        self._image = assemble_image(self.folder / "image")

    def _start_flow(self) -> None:
        source = self._connect()
        self.aws_lambda = self._running.enter_context(LocalLambda(self.function()))
        called = dataclasses.replace(self.settings, lambda_endpoint_url=self.aws_lambda.url)
        function = LambdaFunction(lambda_client(called), called.lambda_function)
        check_function(function)
        self._running.enter_context(EventSourceMapping(source, function))

    def _connect(self) -> QueueSource:
        """Buckets, and the queue that gets their events."""
        chosen, sqs = self.settings, sqs_client(self.settings)
        make_buckets(chosen)
        self.queue_url = url = create_queue(sqs, QUEUE)
        self.dead_letters_url = create_queue(sqs, DEAD_LETTERS)
        arn = let_bucket_send(sqs, url, chosen.input_bucket)
        with boto_errors(f"setting up the queue {QUEUE}"):
            sqs.set_queue_attributes(QueueUrl=url, Attributes=_redrive(arn))
        notify_queue(s3_client(chosen), chosen.input_bucket, arn, VIDEO_EXTENSIONS)
        return QueueSource(client=sqs, url=url, arn=arn, concurrency=WORKERS)


def make_buckets(settings: Settings) -> None:
    store = S3Store(s3_client(settings))
    buckets = (settings.input_bucket, settings.output_bucket, settings.report_bucket)
    for bucket in filter(None, buckets):
        store.create_bucket(bucket)


def check_function(function: LambdaFunction) -> None:
    """Raises StartFailed when it does not even answer a test event."""
    answer = function.invoke(TEST_EVENT)
    if answer.function_error:
        said = answer.payload.decode(errors="replace")
        raise StartFailed(f"the function does not start: {said:.2000}")


def _redrive(arn: str) -> dict[str, str]:
    """After some deliveries a message goes to the queue of dead letters."""
    target = arn.rpartition(":")[0] + ":" + DEAD_LETTERS
    policy = {"deadLetterTargetArn": target, "maxReceiveCount": DELIVERIES}
    return {"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": str(VISIBILITY_S)}
