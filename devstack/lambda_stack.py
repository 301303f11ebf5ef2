"""The flow `lambda`: bucket notification -> queue -> event source mapping -> Lambda.

moto stands for S3, SQS and DynamoDB, `event_source.py` for the mapping, and `lambda_api.py` for
Lambda. The runtime client, the handler and the package are the same as in the image.
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
from rollcall.stores.boto import boto_errors, lambda_client, s3_client, sqs_client
from rollcall.stores.buckets import create_buckets
from rollcall.stores.sqs import create_queue, let_bucket_send
from rollcall.stores.topics import notify_queue
from rollcall.worker.lambda_function import LambdaFunction

QUEUE = "rollcall-videos"
DEAD_LETTERS = "rollcall-dead-letters"
MAX_DELIVERIES = 5
"""Number of failed deliveries after which a message moves to the dead-letter queue."""
VISIBILITY_S = 30
"""Time until a message whose invocation failed is delivered again."""

TEST_EVENT = json.dumps({"Event": "s3:TestEvent"}).encode()


class LambdaStack(LocalStack):
    """A store with a queue, and a function that is called for each message of the queue."""

    parts = "store, queue and Lambda"
    unsupported_stores: ClassVar[Mapping[StoreName, str]] = {
        "ceph": "Ceph has no queues that Lambda could read; run the flow lambda on the embedded"
        " store (STORE=embedded)"
    }

    def function(self) -> LocalFunction:
        """Return the function with the files of its image and the settings of this stack."""
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
        self.aws_lambda = self._resources.enter_context(LocalLambda(self.function()))
        # The address of the local Lambda is not known before it is created.
        settings = dataclasses.replace(self.settings, lambda_endpoint_url=self.aws_lambda.url)
        function = LambdaFunction(lambda_client(settings), settings.lambda_function)
        check_function(function)
        self._resources.enter_context(EventSourceMapping(source, function))

    def _connect(self) -> QueueSource:
        """Create the buckets, the queues and the notification."""
        sqs, s3, bucket = (
            sqs_client(self.settings),
            s3_client(self.settings),
            self.settings.input_bucket,
        )
        create_buckets(s3, self.settings)
        self.queue_url = url = create_queue(sqs, QUEUE)
        self.dead_letters_url = create_queue(sqs, DEAD_LETTERS)
        arn = let_bucket_send(sqs, url, bucket)
        with boto_errors(f"setting up the queue {QUEUE}"):
            sqs.set_queue_attributes(QueueUrl=url, Attributes=_redrive(arn))
        notify_queue(s3, bucket, arn, VIDEO_EXTENSIONS)
        return QueueSource(client=sqs, url=url, arn=arn, concurrency=WORKERS)


def check_function(function: LambdaFunction) -> None:
    """Raise StartFailed if the function cannot answer a test event."""
    answer = function.invoke(TEST_EVENT)
    if answer.function_error:
        document = answer.payload.decode(errors="replace")
        raise StartFailed(f"the function does not start: {document:.2000}")


def _redrive(arn: str) -> dict[str, str]:
    target = arn.rpartition(":")[0] + ":" + DEAD_LETTERS
    policy = {"deadLetterTargetArn": target, "maxReceiveCount": MAX_DELIVERIES}
    return {"RedrivePolicy": json.dumps(policy), "VisibilityTimeout": str(VISIBILITY_S)}
