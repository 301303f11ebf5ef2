"""`POST /events`, as a WSGI layer in front of the pages.

With Flask's routing, contexts and response classes, such a request would use several times as much
CPU time (docs/decisions/0114).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.wsgi import get_input_stream

from rollcall.core.errors import TransientError
from rollcall.core.events import MAX_BODY_BYTES
from rollcall.core.reports import describe_error
from rollcall.logs import LogLimit
from rollcall.trigger.access import PLACES, Access
from rollcall.trigger.answer_headers import security_headers
from rollcall.trigger.http_server import HTTP_THREADS
from rollcall.trigger.metrics import Metrics
from rollcall.trigger.receiver import Receiver

log = logging.getLogger(__name__)

PATH = "/events"

MAX_AT_ONCE = HTTP_THREADS - 4
"""Limit on the events that are stored at the same time. A commit in PostgreSQL waits without limit
while no synchronous standby is there. The other threads of the server must stay free for health
checks and metrics then."""

MAX_WAIT_S = 0.2
"""Longest wait of a further event until one of these events is stored. Usually that takes
milliseconds."""

BUSY_RETRY_AFTER_S = 5

UNAUTHORIZED = {
    "code": "unauthorized",
    "message": f"the token (TRIGGER_TOKEN) is missing or wrong; send it in {PLACES}",
    "retryable": False,
}
LOGIN = ("WWW-Authenticate", 'Basic realm="rollcall"')
"""With this header, browsers ask for the token as the password of a login."""

_FROM_A_PAGE = {
    "code": "from_a_page",
    "message": "a web page may not send events with the login that a browser remembers;"
    " send the token as X-Trigger-Token or Authorization: Bearer TOKEN",
    "retryable": False,
}
_BUSY = {
    "code": "busy",
    "message": "too many events wait for the database; send the event again",
    "retryable": True,
}
_INTERNAL = {"code": "internal", "message": "unexpected error; see the trigger's log"}

_STATUS_LINES = {code: f"{code} {name.upper()}" for code, name in HTTP_STATUS_CODES.items()}

_to_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class _Answer(NamedTuple):
    status: int
    document: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


class _Request(NamedTuple):
    headers: EnvironHeaders
    remote_addr: str


@dataclass(frozen=True, slots=True)
class EventsEndpoint:
    """A WSGI application that answers `POST /events`. `pages` answers all other requests."""

    pages: Any
    receiver: Receiver
    metrics: Metrics
    access: Access
    refusal_log: LogLimit = field(default_factory=LogLimit)
    busy_log: LogLimit = field(default_factory=LogLimit)
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MAX_AT_ONCE))

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] != "POST":
            answered: Iterable[bytes] = self.pages(environ, start_response)
            return answered
        status, document, headers = self._answer(environ)
        body = f"{_to_json(document)}\n".encode()
        lengths = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(_STATUS_LINES[status], [*lengths, *headers, *security_headers()])
        return [body]

    def _answer(self, environ: dict[str, Any]) -> _Answer:
        if not self.slots.acquire(timeout=MAX_WAIT_S):
            self.busy_log.log(log.error, "refused events, because the database does not answer")
            return _Answer(503, {"error": _BUSY}, (("Retry-After", str(BUSY_RETRY_AFTER_S)),))
        try:
            request = _Request(EnvironHeaders(environ), environ.get("REMOTE_ADDR", ""))
            return self._receive(request, environ)
        except TransientError as error:
            # The event is not stored, so the store will send it again.
            log.error("%s", error)
            retry_after = ("Retry-After", str(error.retry_after_s))
            return _Answer(error.status, {"error": describe_error(error)}, (retry_after,))
        except HTTPException as error:  # the body is too long
            document = {"code": "http", "message": error.description, "retryable": False}
            return _Answer(error.code or 500, {"error": document})
        except Exception:
            log.exception("unexpected error in the trigger")
            return _Answer(500, {"error": _INTERNAL})
        finally:
            self.slots.release()

    def _receive(self, request: _Request, environ: dict[str, Any]) -> _Answer:
        access = self.access
        if access.is_login_of_browser(request):
            self.metrics.events.labels("refused").inc()
            return _Answer(403, {"error": _FROM_A_PAGE})
        body = get_input_stream(environ, max_content_length=MAX_BODY_BYTES).read()
        if not (access.allows_headers(request) or access.allows_event(body)):
            self.metrics.events.labels("refused").inc()
            places = access.places_of_tokens(request, body)
            reason = f"wrong token in {places}" if places else "no token"
            details = (request.remote_addr, reason)
            self.refusal_log.log(log.warning, "refused an event of %s: %s", *details)
            return _Answer(401, {"error": UNAUTHORIZED}, (LOGIN,))
        return _Answer(200, self.receiver.receive(body, dict(request.headers)))
