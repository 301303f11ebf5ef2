"""The steps of a video's trace, as spans of OpenTelemetry if that is installed and configured.

Without OpenTelemetry nothing is recorded, but the trace ids are still passed on with all calls
(`rollcall.core.trace_context`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol

from rollcall.core.trace_context import child_traceparent

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""OpenTelemetry's variables for the address of the collector. Any of them turns the export on."""

Attributes = Mapping[str, str | int | float]


class Video(Protocol):
    """Both VideoRef and Work have these fields."""

    @property
    def bucket(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def work_id(self) -> str: ...


class Step(Protocol):
    """A step that has begun."""

    traceparent: str
    """The trace, with this step as the parent of what comes next."""

    def end(self, attributes: Attributes | None = None, *, failed: bool = False) -> None:
        """Record the step. A step that does not end is not recorded."""
        ...


class Tracer(Protocol):
    """Records the steps of traces. Safe to share between threads; never raises."""

    def begin(
        self, name: str, traceparent: str, video: Video, began_s: float | None = None
    ) -> Step:
        """Begin a step for a video, below `traceparent`. `began_s` is a Unix time; default: now."""
        ...

    def close(self) -> None:
        """Export what has not been exported yet."""
        ...


class _PlainStep:
    """A step of which only the id is known."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def end(self, attributes: Attributes | None = None, *, failed: bool = False) -> None:
        """Record nothing."""


class PlainTracer:
    """Gives each step an id, and records nothing."""

    def begin(
        self, name: str, traceparent: str, video: Video, began_s: float | None = None
    ) -> Step:
        return _PlainStep(child_traceparent(traceparent))

    def close(self) -> None:
        """Do nothing, because nothing was recorded."""


def open_tracer(service: str, environ: Mapping[str, str]) -> Tracer:
    """A tracer that exports to the collector that the environment names, if there is one.

    `service` is the program's name in the traces, unless OTEL_SERVICE_NAME is set.
    """
    named = [name for name in ENDPOINTS if environ.get(name)]
    if not named or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return PlainTracer()
    try:
        # Imported only here, because it is an extra, and slow to load.
        from rollcall.otel_tracing import OtelTracer
    except ImportError as error:
        log.warning(
            "%s is set, but no traces are exported, because the package %s is missing; install it"
            " with: pip install 'rollcall[otel]'",
            named[0],
            error.name,
        )
        return PlainTracer()
    return OtelTracer(environ.get("OTEL_SERVICE_NAME") or service)
