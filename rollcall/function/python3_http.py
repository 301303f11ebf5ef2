"""What OpenFaaS' python3-http template gives a handler: event, context, and answers to HTTP.

For homes that do not build from the template: the image of `OpenFaas/project3/Dockerfile` and the
local stack. Event and context have the template's attributes, `body` is bytes, and nothing that
the handler raises is caught: that would be the handler's fault in the cluster too. Run by
gunicorn, whose workers take one call each and are replaced when they die. A body that is larger
than any event is refused before it is read, with the answer that the handler would give.
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
    """Serves `handle` at `prefix` and below: the watchdog calls `/`, a gateway `/function/NAME`.

    `/healthz` answers without the handler.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    context = Context(socket.gethostname())

    def call(path: str = "") -> Response:
        event = Event(
            request.get_data(), request.headers, request.method, request.args, request.path
        )
        return _response(handle(event, context))

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> tuple[Response, int]:
        refusal = BadEvent(f"the event has more than {MAX_BODY_BYTES} bytes")
        return jsonify(error=describe_error(refusal)), refusal.status

    for rule in (prefix or "/", f"{prefix}/<path:path>"):
        app.add_url_rule(rule, view_func=call, methods=METHODS)

    @app.get("/healthz")
    def healthz() -> str:
        return "OK"

    return app


def _response(answer: Mapping[str, Any]) -> Response:
    body = answer.get("body", "")
    headers = dict(answer.get("headers", {}))
    binary = headers.get("Content-type") == "application/octet-stream"
    text = body if binary else str(body)
    response = jsonify(body) if isinstance(body, dict) else Response(text)
    response.status_code = answer.get("statusCode", 200)
    response.headers.update(headers)
    return response
