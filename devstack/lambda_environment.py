"""One execution environment: an awslambdaric process, and the Runtime API that it asks for work.

The process is told an address only, so each has a server of its own: that is how Lambda knows which
environment took which invocation. Paths and headers: "Using the Lambda runtime API", Lambda
Developer Guide.
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
"""AWS gives ten seconds; a busy machine that imports from a cold disk needs more."""

MAX_RESPONSE_BYTES = 6 << 20
POLL_S = 0.05
_API = "/2018-06-01/runtime"


@dataclass(frozen=True, kw_only=True)
class LocalFunction:
    """What Lambda knows of a function."""

    name: str
    handler: str
    """`module.function`, in a module of `code`."""
    code: Path
    logs: Path
    """Gets a log for each environment; the process works there, so `code` stays untouched."""
    environ: Mapping[str, str]
    concurrency: int = 2
    timeout_s: float = 300.0
    command: Sequence[str] = (sys.executable, "-m", "awslambdaric")

    @property
    def arn(self) -> str:
        return f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an invocation came to; `function_error` is empty where the handler returned."""

    payload: bytes
    function_error: str = ""


@dataclass(slots=True)
class _Call:
    payload: bytes
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    taken: Future[None] = field(default_factory=Future)
    outcome: Future[Outcome] = field(default_factory=Future)


class _Quiet(WSGIRequestHandler):
    def log_request(self, *args: object) -> None:
        """Every invocation would be three lines."""


def serve(app: Flask) -> BaseWSGIServer:
    """On a free port of loopback, each request in a thread of its own: some wait for long."""
    return make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)


class Environment:
    """Runs one invocation at a time. Start it from a thread that lives as long as it should."""

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
        """Never raises for what the function does. After a crash or a time-out the environment is
        of no more use."""
        call = self._call = _Call(payload)
        self._calls.put(call)
        timeout_s = self._function.timeout_s
        return (
            self._lost(call, call.taken, INIT_TIMEOUT_S)
            or self._lost(call, call.outcome, timeout_s)
            or call.outcome.result()
        )

    def stop(self) -> None:
        """At once, as Lambda does: while it waits for work it hears no SIGTERM."""
        self._broken = True
        self._process.kill()
        self._calls.put(None)  # lets go of whoever still waits for work
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _lost(self, call: _Call, awaited: Future[Any], timeout_s: float) -> Outcome | None:
        """None when it came; the error when the process died before, or time was over."""
        until = time.monotonic() + timeout_s
        while not wait([awaited], POLL_S).done:
            if not self._process.alive():
                message = "Runtime exited without providing a reason"
                return self._failed(call, "Runtime.ExitError", message)
            if time.monotonic() > until:
                message = f"Task timed out after {timeout_s:.2f} seconds"
                return self._failed(call, "Sandbox.Timedout", message)
        return None

    def _failed(self, call: _Call, kind: str, message: str) -> Outcome:
        self._broken = True
        self._process.kill()
        message = f"RequestId: {call.request_id} Error: {message}"
        log.error("%s: %s; its log is %s", self._function.name, message, self._process.log)
        return Outcome(self._init_error or _error(kind, message), "Unhandled")

    def _environ(self, address: str) -> dict[str, str]:
        """As Lambda sets them ("Defined runtime environment variables")."""
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
        call.taken.set_result(None)
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
            self._broken = True  # awslambdaric ends at this answer
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
        if call is None or call.request_id != request_id or call.outcome.done():
            return Response(_error("InvalidRequestID", "no such invocation is running"), 400)
        call.outcome.set_result(outcome)
        return Response('{"status":"OK"}', 202)


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
