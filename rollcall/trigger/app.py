"""The trigger's HTTP endpoints: /events, and the pages of `rollcall.trigger.pages`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, jsonify, request
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from rollcall.core.errors import TransientError
from rollcall.core.events import MAX_BODY_BYTES
from rollcall.core.printable import printable
from rollcall.core.protocols import WorkQueue
from rollcall.core.reports import describe_error
from rollcall.logs import LogLimit
from rollcall.trigger.access import Access
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.pages import Health, add_pages, refuse_token
from rollcall.trigger.receiver import Receiver

log = logging.getLogger(__name__)

# The status page shows keys and messages that outsiders choose. So its only active content may be
# our own style element, which `_add_security_headers` allows by a nonce.
_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_SECURITY_HEADERS = (
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


@dataclass(frozen=True, slots=True)
class TriggerParts:
    """The parts of the trigger that the endpoints use."""

    queue: WorkQueue
    receiver: Receiver
    metrics: Metrics
    access: Access
    health: Health


def create_app(parts: TriggerParts) -> Flask:
    """The Flask app of a trigger."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.jinja_env.filters["when"] = _time_text
    # HTML escaping leaves control characters in a text, also those that reverse its direction.
    app.jinja_env.finalize = _escape_control_characters
    _add_events(app, parts)
    add_pages(app, parts.queue, parts.metrics, parts.access, parts.health)
    app.after_request(_add_security_headers)
    app.register_error_handler(TransientError, _unavailable)
    app.register_error_handler(Exception, _unexpected)
    return app


def _add_events(app: Flask, parts: TriggerParts) -> None:
    refusal_log = LogLimit()

    @app.post("/events")
    def events() -> tuple[Response, int]:
        if parts.access.is_login_of_browser(request):
            parts.metrics.events.labels("refused").inc()
            return _refuse_web_page()
        body = request.get_data()
        if not (parts.access.allows_headers(request) or parts.access.allows_event(body)):
            parts.metrics.events.labels("refused").inc()
            places = parts.access.places_of_tokens(request, body)
            reason = f"wrong token in {places}" if places else "no token"
            refusal_log.log(log.warning, "refused an event of %s: %s", request.remote_addr, reason)
            return refuse_token()
        return jsonify(parts.receiver.receive(body, dict(request.headers))), 200


def _unavailable(error: TransientError) -> tuple[Response, int]:
    """Answer 503 with Retry-After. The event is not stored, so the store will send it again."""
    log.error("%s", error)
    response = jsonify(error=describe_error(error))
    response.headers["Retry-After"] = str(error.retry_after_s)
    return response, error.status


def _unexpected(error: Exception) -> AnyResponse | tuple[Response, int]:
    """Answer 500 after an unexpected error. Errors of HTTP, such as 404, keep their status."""
    if isinstance(error, HTTPException):
        return error.get_response()
    log.exception("unexpected error in the trigger")
    message = "unexpected error; see the trigger's log"
    return jsonify(error={"code": "internal", "message": message}), 500


def _escape_control_characters(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value


def _refuse_web_page() -> tuple[Response, int]:
    """Answer 403 to an event that a web page sends with a remembered login, right or wrong."""
    message = (
        "a web page may not send events with the login that a browser remembers;"
        " send the token as X-Trigger-Token or Authorization: Bearer TOKEN"
    )
    return jsonify(error={"code": "from_a_page", "message": message, "retryable": False}), 403


def _add_security_headers(response: AnyResponse) -> AnyResponse:
    """Forbid scripts in our pages, framing by other sites, and caching."""
    style = f"; style-src 'nonce-{g.nonce}'" if "nonce" in g else ""
    response.headers.add("Content-Security-Policy", _POLICY + style)
    for name, value in _SECURITY_HEADERS:
        response.headers.add(name, value)
    return response


def _time_text(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
