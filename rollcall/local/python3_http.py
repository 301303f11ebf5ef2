"""What OpenFaaS' python3-http template gives a handler, without its image.

Event and context have the template's attributes, `body` is bytes, and nothing that the handler
raises is caught: that would be the handler's fault in the cluster too. Run by gunicorn, whose
workers take one call each and are replaced when they die.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.datastructures import Headers, MultiDict


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


def create_app(handle: Handle, name: str) -> Flask:
    """Serves `handle` at `/function/NAME`, as the gateway would."""
    app = Flask(__name__)
    context = Context(os.environ.get("HOSTNAME", "localhost"))

    @app.route(f"/function/{name}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
    def call() -> Response:
        event = Event(
            request.get_data(), request.headers, request.method, request.args, request.path
        )
        return _response(handle(event, context))

    @app.get("/healthz")
    def healthz() -> str:
        return "OK"

    return app


def from_environment() -> Flask:
    """For gunicorn: FUNCTION_CONTEXT is the folder that holds the package `function`."""
    sys.path.append(os.environ["FUNCTION_CONTEXT"])
    from function.handler import handle

    return create_app(handle, os.environ["OPENFAAS_FUNCTION"])


def _response(answer: Mapping[str, Any]) -> Response:
    body = answer.get("body", "")
    headers = dict(answer.get("headers", {}))
    binary = headers.get("Content-type") == "application/octet-stream"
    text = body if binary else str(body)
    response = jsonify(body) if isinstance(body, dict) else Response(text)
    response.status_code = answer.get("statusCode", 200)
    response.headers.update(headers)
    return response
