"""One execution environment: an awslambdaric process and the Runtime API that it polls for work.

Every process has its own Runtime API server, because a request does not say from which process it
comes. Paths and headers follow "Using the Lambda runtime API", Lambda Developer Guide.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flask import Flask, Response, request
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from devstack.processes import Process

log = logging.getLogger(__name__)

INIT_TIMEOUT_S = 60.0
"""AWS allows 10 s. A busy machine that imports packages from a cold disk may need longer."""

MAX_RESPONSE_BYTES = 6 << 20
"""Lambda's limit for the response of a synchronous call."""
POLL_S = 0.05
_API = "/2018-06-01/runtime"


@dataclass(frozen=True, kw_only=True)
class LocalFunction:
    """The configuration of a function."""

    name: str
    handler: str
    """The handler as `module.function`. The module is in the folder `code`."""
    code: Path
    logs: Path
    """Folder for a log of each environment, and the working directory of all processes."""
    environ: Mapping[str, str]
    concurrency: int = 2
    timeout_s: float = 300.0
    command: Sequence[str] = (sys.executable, "-m", "awslambdaric")

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an invocation. `function_error` is empty if the handler returned normally."""

    payload: bytes
    function_error: str = ""


@dataclass(slots=True)
class _Call:
    payload: bytes
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    received: Future[None] = field(default_factory=Future)
    """Done when the process has received the payload."""
    outcome: Future[Outcome] = field(default_factory=Future)


class _Quiet(WSGIRequestHandler):
    def log_request(self, *args: object) -> None:
        """Log nothing, because each invocation causes several requests."""


def serve(app: Flask) -> BaseWSGIServer:
    """Return a server on a free port of 127.0.0.1, with a thread for each request: some wait."""
    return make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)


class Environment:
    """An execution environment, which runs one invocation at a time.

    Its process ends when the thread that creates it ends (see `_die_with_parent` in processes.py).
    """

    def __init__(self, function: LocalFunction, number: int) -> None:
        self._function = function
        self._calls: queue.Queue[_Call | None] = queue.Queue()
        self._call: _Call | None = None
        self._broken = False
        self._init_error = b""
        self._server = serve(self._app())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_S,))
        self._thread.start()
        env = self._environ(f"127.0.0.1:{self._server.server_port}")
        argv = [*function.command, function.handler]
        self._process = Process(f"{function.name}-{number}", argv, env, function.logs)

    @property
    def pid(self) -> int:
        return self._process.pid

    def usable(self) -> bool:
        return not self._broken and self._process.alive()

    def run(self, payload: bytes) -> Outcome:
        """Run one invocation. Errors of the function are returned as part of the outcome.

        After a crash or a time-out the environment is no longer `usable`.
        """
        call = self._call = _Call(payload)
        self._calls.put(call)
        timeout_s = self._function.timeout_s
        # As on AWS, the time-out of the function starts when the process receives the call. Before
        # that, the process may still be importing its packages.
        return (
            self._wait(call, call.received, INIT_TIMEOUT_S)
            or self._wait(call, call.outcome, timeout_s)
            or call.outcome.result()
        )

    def stop(self) -> None:
        """Kill the process, as Lambda does: awslambdaric ignores SIGTERM while it is idle."""
        self._broken = True
        self._process.kill()
        self._calls.put(None)  # ends a request that is waiting for work
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _wait(self, call: _Call, awaited: Future[Any], timeout_s: float) -> Outcome | None:
        """Wait until `awaited` is done, and return None.

        If the process ends or the time is up before that, return that error.
        """
        until = time.monotonic() + timeout_s
        while not wait([awaited], POLL_S).done:
            if not self._process.alive():
                message = "Runtime exited without providing a reason"
                return self._give_up(call, "Runtime.ExitError", message)
            if time.monotonic() > until:
                message = f"Task timed out after {timeout_s:.2f} seconds"
                return self._give_up(call, "Sandbox.Timedout", message)
        return None

    def _give_up(self, call: _Call, kind: str, message: str) -> Outcome:
        self._broken = True
        self._process.kill()
        message = f"RequestId: {call.request_id} Error: {message}"
        log.error("%s: %s; see the log %s", self._function.name, message, self._process.log)
        # An error during the imports explains more than the exit that followed.
        return Outcome(self._init_error or _error(kind, message), "Unhandled")

    def _environ(self, address: str) -> dict[str, str]:
        """Return the function's variables and those of Lambda.

        The latter are Lambda's "Defined runtime environment variables".
        """
        function = self._function
        paths = filter(None, (str(function.code), function.environ.get("PYTHONPATH")))
        return {
            **function.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "LAMBDA_TASK_ROOT": str(function.code),
            "_HANDLER": function.handler,
        }

    def _app(self) -> Flask:
        app = Flask(__name__)
        app.add_url_rule(f"{_API}/invocation/next", view_func=self._next)
        add = partial(app.add_url_rule, methods=["POST"])
        add(f"{_API}/invocation/<request_id>/response", view_func=self._response)
        add(f"{_API}/invocation/<request_id>/error", view_func=self._error)
        add(f"{_API}/init/error", view_func=self._init)
        return app

    def _next(self) -> Response:
        call = self._calls.get()
        if call is None:
            return Response(status=500)
        deadline_ms = int((time.time() + self._function.timeout_s) * 1000)
        call.received.set_result(None)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": call.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self._function.arn,
        }
        return Response(call.payload, content_type="application/json", headers=headers)

    def _response(self, request_id: str) -> Response:
        payload = request.get_data()
        if len(payload) > MAX_RESPONSE_BYTES:
            message = f"Response payload size ({len(payload)} bytes) exceeded maximum allowed"
            text = _error("Function.ResponseSizeTooLarge", message)
            self._broken = True  # awslambdaric exits when it gets this answer
            self._settle(request_id, Outcome(text, "Unhandled"))
            return Response(text, 413)
        return self._settle(request_id, Outcome(payload))

    def _error(self, request_id: str) -> Response:
        return self._settle(request_id, Outcome(request.get_data(), "Unhandled"))

    def _init(self) -> Response:
        self._init_error = request.get_data()
        return Response('{"status":"OK"}', 202)

    def _settle(self, request_id: str, outcome: Outcome) -> Response:
        call = self._call
        # A late answer to a call that timed out must not be used for the next call.
        if call is None or call.request_id != request_id or call.outcome.done():
            return Response(_error("InvalidRequestID", "no such invocation is running"), 400)
        call.outcome.set_result(outcome)
        return Response('{"status":"OK"}', 202)


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
