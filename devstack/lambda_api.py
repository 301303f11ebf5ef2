"""Lambda's Invoke API on loopback, in front of real awslambdaric processes.

boto3's Lambda client can use it as its `endpoint_url`. Only synchronous calls of one function are
supported, and signatures are not checked. Limits and errors follow "Invoke" in Lambda's API
reference.
"""

from __future__ import annotations

import json
import threading
from typing import Any, Self

from flask import Flask, Response, jsonify, request

from devstack.lambda_environment import POLL_S, LocalFunction, Outcome, serve
from devstack.lambda_pool import EnvironmentPool, TooManyRequests

MAX_PAYLOAD_BYTES = 6 << 20
"""Lambda's limit for the request of a synchronous invocation."""
_CHUNK_BYTES = 1 << 16


class LocalLambda:
    """A context manager that serves one function at `url`. Its exit ends all processes.

    `GET url/counts` returns `counts()` as JSON.
    """

    def __init__(self, function: LocalFunction) -> None:
        self.function = function
        self.pool = EnvironmentPool(function)
        self._server = serve(create_app(function, self.pool))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.pool.close()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def counts(self) -> dict[str, int]:
        """Return the fields of `Counts` by name."""
        return self.pool.counts()


def create_app(function: LocalFunction, pool: EnvironmentPool) -> Flask:
    app = Flask(__name__)

    @app.post("/2015-03-31/functions/<path:name>/invocations")
    def invoke(name: str) -> Response:
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        if name not in (function.name, function.arn):
            message = f"Function not found: {name}"
            return _refusal(404, "ResourceNotFoundException", message)
        if kind != "RequestResponse":
            # No flow calls the function asynchronously or as a dry run.
            message = f"The local Lambda does not support the invocation type {kind!r}"
            return _refusal(400, "InvalidParameterValueException", message)
        try:
            return _answer(pool.run(_payload(MAX_PAYLOAD_BYTES)))
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
    """Return the request's body. Raises _Refused if it is too large or not JSON."""
    body = bytearray()
    # A body that is too large is read to its end as well. Otherwise the caller would get a broken
    # connection instead of the answer.
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


def _refusal(status: int, kind: str, message: str, **more: Any) -> Response:
    response = jsonify(Type="User", message=message, **more)
    response.status_code = status
    response.headers["x-amzn-ErrorType"] = kind
    return response
