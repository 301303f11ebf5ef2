"""A server for handlers that are written for OpenFaaS' python3-http template.

It is used where the template is not: in the image of `OpenFaas/project3/Dockerfile`, and in the
local stack.
Event and context have the attributes of the template, and `event.body` is bytes. Exceptions of the
handler are not caught, because the template does not catch them either. A body that is larger than
any event is rejected before it is read, with the answer that the function would give.

gunicorn runs it: each worker process handles one call at a time, and is replaced when it dies.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.datastructures import Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge

from rollcall.core.errors import BadEvent
from rollcall.core.events import MAX_BODY_BYTES
from rollcall.core.reports import describe_error

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


@dataclass(frozen=True, slots=True)
class Event:
    body: bytes
    headers: Headers
    method: str
    query: MultiDict[str, str]
    path: str


@dataclass(frozen=True, slots=True)
class Context:
    hostname: str


Handle = Callable[[Event, Context], Mapping[str, Any]]


def create_app(handle: Handle, prefix: str = "") -> Flask:
    """Return an app that serves `handle` at `prefix` and below, and a health check at `/healthz`.

    The watchdog calls `/`, and a gateway calls `/function/NAME`.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    context = Context(socket.gethostname())

    def call(path: str = "") -> Response:
        event = Event(
            request.get_data(), request.headers, request.method, request.args, request.path
        )
        return _to_response(handle(event, context))

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> tuple[Response, int]:
        refusal = BadEvent(f"the event has more than {MAX_BODY_BYTES} bytes")
        return jsonify(error=describe_error(refusal)), refusal.status

    @app.get(f"{prefix}/_/health")
    def watchdog_health() -> str:
        # In OpenFaaS the watchdog answers this path, and the function is not called.
        return "OK"

    for rule in (prefix or "/", f"{prefix}/<path:path>"):
        app.add_url_rule(rule, view_func=call, methods=METHODS)

    @app.get("/healthz")
    def healthz() -> str:
        return "OK"

    return app


def _to_response(answer: Mapping[str, Any]) -> Response:
    body = answer.get("body", "")
    headers = dict(answer.get("headers", {}))
    binary = headers.get("Content-type") == "application/octet-stream"
    text = body if binary else str(body)
    response = jsonify(body) if isinstance(body, dict) else Response(text)
    response.status_code = answer.get("statusCode", 200)
    response.headers.update(headers)
    return response
