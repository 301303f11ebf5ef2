"""The flow `openstack`: notification -> queue -> worker -> Lambda -> queue -> worker -> files.

moto stands for S3, SQS and DynamoDB, and `lambda_api.py` for Lambda. The worker is the real one.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from devstack.build_context import REPOSITORY
from devstack.lambda_api import LocalLambda
from devstack.lambda_stack import LambdaStack, check_function
from devstack.processes import Process
from devstack.stack import WORKERS
from devstack.store_servers import StoreName
from rollcall.stores.boto import lambda_client
from rollcall.worker.lambda_function import LambdaFunction
from rollcall.worker.queue_registration import register
from rollcall.worker.result_files import STATUS_FILE

QUEUES = {
    "INPUT_QUEUE_URL": "rollcall-events",
    "RESULT_QUEUE_URL": "rollcall-results",
    "DEAD_LETTER_QUEUE_URL": "rollcall-dead-letters",
}
ACCOUNT = "123456789012"
"""The account id in the queue URLs of moto."""


class OpenStackStack(LambdaStack):
    """A store with queues, the function, and the worker that connects them."""

    parts = "store, queues, Lambda and worker"
    unsupported_stores: ClassVar[Mapping[StoreName, str]] = {
        "ceph": "Ceph cannot send events to an SQS queue; run the flow openstack on the embedded"
        " store (STORE=embedded)"
    }

    def _flow_defaults(self) -> dict[str, str]:
        return {"MAX_INFLIGHT": str(WORKERS)}

    def _flow_settings(self) -> dict[str, str]:
        base = super()._flow_settings()
        url = base["SQS_ENDPOINT_URL"]
        return {
            **base,
            **{name: f"{url}/{ACCOUNT}/{queue}" for name, queue in QUEUES.items()},
            "RESULTS_FOLDER": str(self.folder / "results"),
        }

    def _start_flow(self) -> None:
        register(self.settings)
        self.aws_lambda = self._resources.enter_context(LocalLambda(self.function()))
        self.values["LAMBDA_ENDPOINT_URL"] = self.aws_lambda.url
        self.settings = dataclasses.replace(self.settings, lambda_endpoint_url=self.aws_lambda.url)
        name = self.settings.lambda_function
        check_function(LambdaFunction(lambda_client(self.settings), name))
        self.worker = self.start_worker()
        # The worker is stopped before the Lambda, so that its calls in flight can finish.
        self._resources.callback(lambda: self._processes.stop(self.worker))

    def start_worker(self) -> Process:
        argv = [sys.executable, str(REPOSITORY / "openstack_handler.py")]
        process = Process("worker", argv, self.environ, self.folder)
        status = Path(self.settings.results_folder) / STATUS_FILE
        # The worker serves no HTTP that could be checked, but it writes this file when it starts.
        self._processes.add(process).wait_ready(status.exists)
        return process
