"""The trigger's HTTP surface."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from markupsafe import Markup
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from rollcall.core.errors import TransientError
from rollcall.core.events import MAX_BODY_BYTES
from rollcall.core.printable import printable
from rollcall.core.reports import describe_error
from rollcall.logs import LogLimit
from rollcall.queues.inbox import Inbox
from rollcall.trigger.access import DOORS, Access
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.receiver import Receiver

log = logging.getLogger(__name__)

SHOWN_ROWS = 50

_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_GUARDS = (
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


@dataclass(frozen=True, slots=True)
class TriggerParts:
    """What the pages speak to."""

    inbox: Inbox
    receiver: Receiver
    metrics: Metrics
    access: Access
    alive: Callable[[], bool]


def create_app(parts: TriggerParts) -> Flask:
    """Everything is passed in."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.jinja_env.filters["when"] = _when
    # HTML's own escaping leaves control characters, and those that turn the text around.
    app.jinja_env.finalize = _shown
    _add_events(app, parts)
    _add_pages(app, parts)
    app.after_request(_guard)
    app.register_error_handler(TransientError, _unavailable)
    app.register_error_handler(Exception, _unexpected)
    return app


def _add_events(app: Flask, parts: TriggerParts) -> None:
    refusals = LogLimit()

    @app.post("/events")
    def events() -> tuple[Response, int]:
        if parts.access.of_page(request):
            parts.metrics.events.labels("refused").inc()
            return _not_from_a_page()
        body = request.get_data()
        if not (parts.access.of_headers(request) or parts.access.of_event(body)):
            parts.metrics.events.labels("refused").inc()
            doors = parts.access.doors(request, body)
            why = f"wrong token in {doors}" if doors else "no token"
            refusals.log(log.warning, "refused an event of %s: %s", request.remote_addr, why)
            return _refusal()
        return jsonify(parts.receiver.receive(body, dict(request.headers))), 200


def _add_pages(app: Flask, parts: TriggerParts) -> None:
    @app.get("/healthz")
    def healthz() -> tuple[Response, int]:
        alive = parts.alive()
        return jsonify(ok=alive, work=parts.inbox.counts()), 200 if alive else 503

    @app.get("/metrics")
    def prometheus() -> Response:
        return Response(generate_latest(parts.metrics.registry), mimetype=CONTENT_TYPE_LATEST)

    @app.get("/")
    def status() -> AnyResponse | tuple[Response, int]:
        if not parts.access.of_headers(request):
            return _refusal()
        g.nonce = secrets.token_urlsafe(16)
        return Response(
            render_template(
                "status.html",
                nonce=g.nonce,
                counts=parts.inbox.counts(),
                dead=parts.inbox.latest(SHOWN_ROWS, "dead"),
                latest=parts.inbox.latest(SHOWN_ROWS),
                bad=parts.inbox.bad_events(SHOWN_ROWS),
            )
        )


def _unavailable(error: TransientError) -> tuple[Response, int]:
    """Nothing was acknowledged, so the store sends the event again."""
    log.error("%s", error)
    response = jsonify(error=describe_error(error))
    response.headers["Retry-After"] = str(error.retry_after_s)
    return response, error.status


def _unexpected(error: Exception) -> AnyResponse | tuple[Response, int]:
    if isinstance(error, HTTPException):
        return error.get_response()
    log.exception("unexpected error")
    return jsonify(error={"code": "internal", "message": "see the trigger's log"}), 500


def _refusal() -> tuple[Response, int]:
    message = f"the token (TRIGGER_TOKEN) is missing or wrong; it is taken from {DOORS}"
    response = jsonify(error={"code": "unauthorized", "message": message, "retryable": False})
    response.headers["WWW-Authenticate"] = 'Basic realm="rollcall"'
    return response, 401


def _shown(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def _not_from_a_page() -> tuple[Response, int]:
    message = (
        "a web page may not send events with the login that a browser remembers;"
        " send the token as X-Trigger-Token or Authorization: Bearer TOKEN"
    )
    return jsonify(error={"code": "from_a_page", "message": message, "retryable": False}), 403


def _guard(response: AnyResponse) -> AnyResponse:
    """Nothing runs in a page of ours, no other page frames it, and no cache keeps it."""
    style = f"; style-src 'nonce-{g.nonce}'" if "nonce" in g else ""
    response.headers.add("Content-Security-Policy", _POLICY + style)
    for name, value in _GUARDS:
        response.headers.add(name, value)
    return response


def _when(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
