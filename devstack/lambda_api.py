"""Lambda's Invoke API on loopback, before real awslambdaric processes.

boto3's client works with it unchanged, through `endpoint_url`. Signatures are not looked at. What
is here is what callers of one function meet; nothing is created or configured through it.
Limits and errors: "Invoke" in Lambda's API reference.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any, Self

from flask import Flask, Response, jsonify, request

from devstack.lambda_environment import POLL_S, LocalFunction, Outcome, serve
from devstack.lambda_events import RETRY_WAITS_S, EventQueue
from devstack.lambda_pool import EnvironmentPool, TooManyRequests

MAX_PAYLOAD_BYTES = {"RequestResponse": 6 << 20, "Event": 1 << 20}
_CHUNK_BYTES = 1 << 16


class LocalLambda:
    """One function behind `url`; a context manager, after which nothing is left running.

    `GET url/counts` tells what `counts()` does.
    """

    def __init__(self, function: LocalFunction, waits_s: Sequence[float] = RETRY_WAITS_S) -> None:
        self.function = function
        self.pool = EnvironmentPool(function)
        self.events = EventQueue(function, self.pool, waits_s)
        self._server = serve(create_app(function, self.pool, self.events))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.pool.close()
        self.events.close()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def counts(self) -> dict[str, int]:
        """Invocations, errors, throttles, the most at once, dead letters: see `Counts`."""
        return self.pool.counts()


def create_app(function: LocalFunction, pool: EnvironmentPool, events: EventQueue) -> Flask:
    app = Flask(__name__)
    run: dict[str, Callable[[bytes], Response]] = {
        "RequestResponse": lambda payload: _answer(pool.run(payload)),
        "Event": lambda payload: _accepted(events.put(payload)),
    }

    @app.post("/2015-03-31/functions/<path:name>/invocations")
    def invoke(name: str) -> Response:
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if name not in (function.name, function.arn):
            message = f"Function not found: {name}"
            return _refusal(404, "ResourceNotFoundException", message)
        if kind not in run:
            return _refusal(400, "InvalidParameterValueException", f"no invocation type {kind!r}")
        try:
            payload = _payload(MAX_PAYLOAD_BYTES[kind])
            return run[kind](payload)
        except _Refused as refused:
            return refused.response
        except TooManyRequests:
            reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
            return _refusal(429, "TooManyRequestsException", "Rate Exceeded.", Reason=reason)

    @app.get("/counts")
    def counts() -> Response:
        return jsonify(pool.counts())

    return app


class _Refused(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


def _payload(max_bytes: int) -> bytes:
    """The body, read to its end even when it is refused: else the caller sees a broken connection
    in the place of the answer."""
    body = bytearray()
    while chunk := request.stream.read(_CHUNK_BYTES):
        if len(body) <= max_bytes:
            body += chunk
    if len(body) > max_bytes:
        message = f"Request must be smaller than {max_bytes} bytes for the InvokeFunction operation"
        raise _Refused(_refusal(413, "RequestTooLargeException", message))
    try:
        json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        message = f"Could not parse request body into json: {error}"
        raise _Refused(_refusal(400, "InvalidRequestContentException", message)) from error
    return bytes(body or b"{}")


def _answer(outcome: Outcome) -> Response:
    headers = {"X-Amz-Executed-Version": "$LATEST"}
    if outcome.function_error:
        headers["X-Amz-Function-Error"] = outcome.function_error
    return Response(outcome.payload, 200, headers, content_type="application/json")


def _accepted(request_id: str) -> Response:
    return Response(status=202, headers={"x-amzn-RequestId": request_id})


def _refusal(status: int, kind: str, message: str, **more: Any) -> Response:
    response = jsonify(Type="User", message=message, **more)
    response.status_code = status
    response.headers["x-amzn-ErrorType"] = kind
    return response
