"""Exports the steps of traces by OTLP over HTTP, with OpenTelemetry's library.

The library reads its own settings (`OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*`, `OTEL_TRACES_SAMPLER`)
from the environment. A collector that is slow or down delays nothing: spans are sent by a thread of
the library, and dropped if too many wait.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, Status, StatusCode, TraceFlags

from rollcall.core.trace_context import parts_of, traceparent_with
from rollcall.tracing import Attributes, Video


class _OtelStep:
    def __init__(self, span: Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = traceparent_with(
            f"{context.trace_id:032x}", f"{context.span_id:016x}", bool(context.trace_flags.sampled)
        )

    def end(self, attributes: Attributes | None = None, *, failed: bool = False) -> None:
        self._span.set_attributes(dict(attributes or {}))
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OtelTracer:
    """Records steps as spans."""

    def __init__(self, service: str) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("rollcall")

    def begin(
        self, name: str, traceparent: str, video: Video, began_s: float | None = None
    ) -> _OtelStep:
        trace_id, parent_id, sampled = parts_of(traceparent)
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        parent = SpanContext(
            int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=flags
        )
        return _OtelStep(
            self._tracer.start_span(
                name,
                context=trace.set_span_in_context(NonRecordingSpan(parent)),
                attributes=_attributes_of(video),
                start_time=None if began_s is None else int(began_s * 1e9),
            )
        )

    def close(self) -> None:
        self._provider.shutdown()


def _attributes_of(video: Video) -> Attributes:
    """The attributes of each step for this video."""
    names = {"work_id": video.work_id, "bucket": video.bucket, "key": video.key}
    return {f"rollcall.{name}": text for name, text in names.items()}
