"""The trigger's pages: /healthz and /readyz for probes, /metrics for Prometheus, / for people.

None of them waits for a part that hangs, and none gets slower with the number of finished videos.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, jsonify, render_template, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.wrappers import Response as AnyResponse

from rollcall.core.errors import TransientError
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.work import BadEventRecord, Work
from rollcall.trigger.access import Access
from rollcall.trigger.events_endpoint import LOGIN, UNAUTHORIZED
from rollcall.trigger.metrics import QUERY_WAIT_S, Metrics
from rollcall.trigger.overview import Overview
from rollcall.trigger.readiness import PartState, Readiness
from rollcall.trigger.shared_call import SharedCall

SHOWN_ROWS = 50
"""Rows of each table of the status page."""

SERVICE = "rollcall-trigger"
"""By this name in the answer of /healthz, `--register` recognises a trigger."""

DATABASE, STORE, FUNCTION = "database", "store", "function"

Answered = AnyResponse | tuple[Response, int]


@dataclass(frozen=True, slots=True)
class Health:
    """The state of the trigger's own process, and of the parts that it needs."""

    readiness: Readiness
    threads: Callable[[], Mapping[str, bool]]
    """The trigger's threads by name, and whether each of them runs."""
    reconcile_s: float
    started_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The tables of the status page."""

    dead: Sequence[Work]
    latest: Sequence[Work]
    bad: Sequence[BadEventRecord]


def add_pages(
    app: Flask, queue: WorkQueue, metrics: Metrics, access: Access, health: Health
) -> None:
    rows = SharedCall(lambda: _read_rows(queue), keep_s=0.0, wait_s=QUERY_WAIT_S)

    @app.get("/healthz")
    def healthz() -> tuple[Response, int]:
        # Checks nothing else, so that Kubernetes does not restart the trigger for faults elsewhere.
        threads = health.threads()
        alive = all(threads.values())
        return jsonify(ok=alive, service=SERVICE, threads=dict(threads)), 200 if alive else 503

    @app.get("/readyz")
    def readyz() -> tuple[Response, int]:
        return _readiness_answer(health.readiness.states(), access.allows_headers(request))

    @app.get("/readyz/events")
    def readyz_events() -> tuple[Response, int]:
        # An event only has to be stored, so it is accepted while store and function are down.
        states = health.readiness.states(DATABASE)
        return _readiness_answer(states, access.allows_headers(request))

    @app.get("/metrics")
    def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), mimetype=CONTENT_TYPE_LATEST)

    @app.get("/")
    def status() -> Answered:
        if not access.allows_headers(request):
            return refuse_token()
        return _status_page(metrics, health, rows)


def _readiness_answer(states: Sequence[PartState], with_reasons: bool) -> tuple[Response, int]:
    # The reasons name hosts and buckets, and probes send no token.
    hidden = "cannot be reached; send the token to see the reason"
    parts = [
        {
            "name": state.name,
            "ok": state.ok,
            "needed_for": state.needed_for,
            "error": state.error if with_reasons or state.ok else hidden,
        }
        for state in states
    ]
    ready = all(state.ok for state in states)
    accepts = all(state.ok for state in states if state.name == DATABASE)
    return jsonify(ready=ready, accepts_events=accepts, parts=parts), 200 if ready else 503


def _read_rows(queue: WorkQueue) -> _Rows:
    return _Rows(
        queue.latest(SHOWN_ROWS, "dead"), queue.latest(SHOWN_ROWS), queue.bad_events(SHOWN_ROWS)
    )


def _status_page(metrics: Metrics, health: Health, rows: SharedCall[_Rows]) -> Response:
    """The status page. While the database is down, the page still appears, with status 503."""
    figures, shown, error = None, _Rows((), (), ()), ""
    try:
        figures, shown = metrics.figures.result(), rows.result()
    except TransientError as failure:
        error = str(failure)
    parts = [part for part in health.readiness.last_states() if part.name != DATABASE]
    known = metrics.gallery
    scanned_s = metrics.scanned_s
    now_s = time.time()
    overview = Overview(
        figures,
        [PartState(DATABASE, NEEDED_FOR[DATABASE], error), *parts],
        known,
        metrics.gallery_is_stale,
        now_s - scanned_s if scanned_s else None,
        now_s - known.changed_s if known else 0.0,
        time.monotonic() - health.started_s,
        health.reconcile_s,
    )
    g.nonce = secrets.token_urlsafe(16)
    values: dict[str, Any] = {"counts": figures.work if figures else {}, "rows": shown}
    page = render_template("status.html", nonce=g.nonce, overview=overview, **values)
    return Response(page, 503 if error else 200)


NEEDED_FOR = {
    DATABASE: "accepting events, and everything else",
    STORE: "finding videos whose events were lost",
    FUNCTION: "recognising videos; events are still accepted",
}
"""What does not work without each part."""


def refuse_token() -> tuple[Response, int]:
    """Answer 401 to a request without the token."""
    response = jsonify(error=UNAUTHORIZED)
    response.headers.add(*LOGIN)
    return response, 401
