"""The local Lambda between boto3's client and real awslambdaric processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from support.waiting import wait_until

from devstack.lambda_api import LocalLambda
from devstack.lambda_environment import LocalFunction

HANDLER = '''
import os, pathlib, time

def handle(event, context):
    """Behave as the event asks."""
    if "crash" in event:
        os._exit(3)
    if "raise" in event:
        raise ZeroDivisionError(event["raise"])
    if "wait_for" in event:
        pathlib.Path(event["began"]).touch()
        while not pathlib.Path(event["wait_for"]).exists():
            time.sleep(0.01)
    if "big" in event:
        return "x" * event["big"]
    return {"pid": os.getpid(), "event": event, "id": context.aws_request_id,
            "left_ms": context.get_remaining_time_in_millis(), "name": context.function_name}
'''

Start = Callable[..., LocalLambda]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    code, logs = tmp_path / "code", tmp_path / "logs"
    code.mkdir()
    logs.mkdir()
    (code / "module.py").write_text(HANDLER)
    with ExitStack() as stack:

        def started(**values: Any) -> LocalLambda:
            given = {"name": "f", "handler": "module.handle", "code": code, "logs": logs}
            environ = {"PATH": os.environ["PATH"]}
            function = LocalFunction(**{"environ": environ, **given, **values})
            return stack.enter_context(LocalLambda(function))

        yield started


def client(url: str) -> Any:
    return boto3.client(
        "lambda",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 1}),
    )


def invoke(lam: LocalLambda, event: Any) -> dict[str, Any]:
    answer = client(lam.url).invoke(FunctionName="f", Payload=json.dumps(event).encode())
    text = answer["Payload"].read()
    return {**answer, "document": json.loads(text) if text else None}


def in_background(pool: ThreadPoolExecutor, lam: LocalLambda, folder: Path) -> Future[Any]:
    """Start an invocation that runs until the file `folder/go` exists."""
    began = folder / f"began-{len(list(folder.glob('began-*')))}"
    event = {"wait_for": str(folder / "go"), "began": str(began)}
    call = pool.submit(invoke, lam, event)
    wait_until(began.exists, "the start of the handler")
    return call


def test_two_invocations_use_the_same_environment(start: Start) -> None:
    lam = start()
    first = invoke(lam, {"a": "ä"})
    assert (first["StatusCode"], "FunctionError" in first) == (200, False)
    assert first["ExecutedVersion"] == "$LATEST"
    document = first["document"]
    assert document["event"] == {"a": "ä"}
    assert document["name"] == "f"
    assert 0 < document["left_ms"] <= 300_000
    second = invoke(lam, {})["document"]
    assert second["pid"] == document["pid"]
    assert second["id"] != document["id"]


def test_an_exception_of_the_handler_is_a_function_error(start: Start) -> None:
    lam = start()
    answer = invoke(lam, {"raise": "on purpose"})
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert answer["document"]["errorType"] == "ZeroDivisionError"
    assert answer["document"]["errorMessage"] == "on purpose"
    assert lam.counts()["errors"] == 1


def test_a_handler_that_cannot_be_imported_is_a_function_error(start: Start) -> None:
    answer = invoke(start(handler="nowhere.handle"), {})
    assert answer["FunctionError"] == "Unhandled"
    assert answer["document"]["errorType"] == "Runtime.ImportModuleError"


def test_a_crash_is_a_function_error_and_the_next_invocation_works(start: Start) -> None:
    lam = start(concurrency=1)
    answer = invoke(lam, {"crash": True})
    assert answer["FunctionError"] == "Unhandled"
    assert answer["document"]["errorType"] == "Runtime.ExitError"
    assert "FunctionError" not in invoke(lam, {})


def test_sigkill_during_an_invocation_is_a_function_error(start: Start, tmp_path: Path) -> None:
    lam = start(concurrency=1)
    with ThreadPoolExecutor(1) as threads:
        call = in_background(threads, lam, tmp_path)
        (pid,) = lam.pool.busy_pids()
        os.kill(pid, signal.SIGKILL)
        assert call.result()["FunctionError"] == "Unhandled"
    after = invoke(lam, {})
    assert "FunctionError" not in after
    assert after["document"]["pid"] != pid


def test_an_environment_that_was_killed_while_idle_is_replaced(start: Start) -> None:
    lam = start(concurrency=1)
    pid = invoke(lam, {})["document"]["pid"]
    os.kill(pid, signal.SIGKILL)
    # Its threads end one after the other. WNOWAIT leaves the exit code to the pool.
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    wait_until(lambda: os.waitid(os.P_PID, pid, ended), "the end of the process")
    after = invoke(lam, {})
    assert "FunctionError" not in after
    assert after["document"]["pid"] != pid


def test_a_time_out_is_a_function_error_and_the_next_invocation_works(
    start: Start, tmp_path: Path
) -> None:
    lam = start(concurrency=1, timeout_s=5.5)
    event = {"wait_for": str(tmp_path / "never"), "began": str(tmp_path / "began")}
    answer = invoke(lam, event)
    assert answer["document"]["errorType"] == "Sandbox.Timedout"
    assert "timed out after 5.50 seconds" in answer["document"]["errorMessage"]
    assert "FunctionError" not in invoke(lam, {})


def test_invocations_above_the_concurrency_are_throttled(start: Start, tmp_path: Path) -> None:
    lam = start(concurrency=2)
    with ThreadPoolExecutor(2) as threads:
        calls = [in_background(threads, lam, tmp_path) for _ in range(2)]
        with pytest.raises(ClientError) as caught:
            invoke(lam, {})
        (tmp_path / "go").touch()
        assert not [call for call in calls if "FunctionError" in call.result()]
    error = caught.value.response
    assert error["Error"]["Code"] == "TooManyRequestsException"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert "FunctionError" not in invoke(lam, {})
    counts = httpx.get(lam.url + "/counts", timeout=60).json()
    assert counts == lam.counts()
    assert (counts["invocations"], counts["throttles"]) == (3, 1)
    assert (counts["max_concurrent_executions"], counts["concurrent_executions"]) == (2, 0)


@pytest.mark.parametrize(("size", "status"), [(6 << 20, 413), (1 << 20, 200)])
def test_payloads_are_limited(start: Start, size: int, status: int) -> None:
    lam = start()
    event = {"text": "x" * size}
    if status == 200:
        assert invoke(lam, event)["document"]["event"] == event
        return
    with pytest.raises(ClientError) as caught:
        invoke(lam, event)
    assert caught.value.response["Error"]["Code"] == "RequestTooLargeException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert lam.counts()["invocations"] == 0


def test_answers_are_limited(start: Start) -> None:
    lam = start()
    answer = invoke(lam, {"big": (6 << 20) + 1})
    assert answer["document"]["errorType"] == "Function.ResponseSizeTooLarge"
    assert "FunctionError" not in invoke(lam, {})


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("functions/other/invocations", b"{}", {}, 404),
        ("functions/f/invocations", b"not json", {}, 400),
        ("functions/f/invocations", b"{}", {"X-Amz-Invocation-Type": "Event"}, 400),
    ],
)
def test_invalid_requests_are_refused(
    start: Start, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    lam = start()
    url = f"{lam.url}/2015-03-31/{path}"
    answer = httpx.post(url, content=content, headers=headers, timeout=60)
    assert answer.status_code == status
    assert answer.headers["x-amzn-ErrorType"]
    assert answer.json()["message"]


def test_the_function_can_be_called_by_its_arn(start: Start) -> None:
    lam = start()
    answer = client(lam.url).invoke(FunctionName=lam.function.arn, Payload=b"{}")
    assert answer["StatusCode"] == 200


def test_no_process_is_left_running(start: Start, tmp_path: Path) -> None:
    lam = start()
    with ThreadPoolExecutor(1) as threads:
        idle = invoke(lam, {})["document"]["pid"]
        call = in_background(threads, lam, tmp_path)
        busy = lam.pool.busy_pids()
        lam.__exit__()
        assert call.exception() or call.result()["FunctionError"]
    for pid in {idle, *busy}:
        assert not os.path.exists(f"/proc/{pid}/exe")
