"""The trigger's HTTP endpoints: /events, and the pages of `rollcall.trigger.pages`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, jsonify
from markupsafe import Markup
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from rollcall.core.errors import TransientError
from rollcall.core.events import MAX_BODY_BYTES
from rollcall.core.printable import printable
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.reports import describe_error
from rollcall.trigger import events_endpoint
from rollcall.trigger.access import Access
from rollcall.trigger.answer_headers import security_headers
from rollcall.trigger.events_endpoint import EventsEndpoint
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.pages import Health, add_pages
from rollcall.trigger.receiver import Receiver

log = logging.getLogger(__name__)


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
    # The layer in front answers POST. With this rule, Flask answers other methods with 405.
    app.add_url_rule(events_endpoint.PATH, "events", methods=["POST"])
    add_pages(app, parts.queue, parts.metrics, parts.access, parts.health)
    app.after_request(_add_security_headers)
    app.register_error_handler(TransientError, _unavailable)
    app.register_error_handler(Exception, _unexpected)
    app.wsgi_app = EventsEndpoint(  # type: ignore[method-assign]
        app.wsgi_app, parts.receiver, parts.metrics, parts.access
    )
    return app


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


def _add_security_headers(response: AnyResponse) -> AnyResponse:
    for name, value in security_headers(g.nonce if "nonce" in g else ""):
        response.headers.add(name, value)
    return response


def _time_text(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
