"""Traces are exported to a collector, if there is one and OpenTelemetry is installed."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from support.home import IN, Home
from support.listings import memory_listings
from support.servers import serve_function, serve_wsgi
from support.settings import TOKEN, embedded_settings
from support.videos import paint_video
from support.waiting import wait_until

from rollcall.core.trace_context import derived_traceparent, trace_id_of, valid_traceparent
from rollcall.core.types import VideoRef
from rollcall.function.function_service import FunctionService
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.stores.memory import MemoryStore
from rollcall.tracing import PlainTracer, Tracer, open_tracer
from rollcall.trigger.caller import FunctionCaller
from rollcall.trigger.trigger_service import Trigger

TRACE, SENDER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


VIDEO = VideoRef(IN, "a.mp4", event_id="e1")


class Collector:
    """Receives spans by OTLP over HTTP, as a WSGI application."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Span]] = {}
        """Spans by name."""
        self.services: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, environ, start_response):  # type: ignore[no-untyped-def]
        assert environ["PATH_INFO"] == "/v1/traces"
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for group in request.resource_spans:
                texts = {each.key: each.value.string_value for each in group.resource.attributes}
                self.services.add(texts["service.name"])
                for scope in group.scope_spans:
                    for span in scope.spans:
                        self.spans.setdefault(span.name, []).append(span)
        start_response("200 OK", [("Content-Type", "application/x-protobuf")])
        return [b""]

    def one(self, name: str) -> Span:
        (span,) = self.spans[name]
        return span


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    with serve_wsgi(found) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield found


def attributes(span: Span) -> dict[str, object]:
    return {
        each.key: each.value.string_value or each.value.double_value for each in span.attributes
    }


@contextmanager
def trigger_with(tracer: Tracer, service: FunctionService) -> Iterator[str]:
    """Run a trigger and a function in one process, and yield the trigger's URL."""

    def reply(call: dict[str, object]) -> tuple[int, dict[str, str], bytes]:
        answer = service.answer(call["raw"], call["headers"])  # type: ignore[arg-type]
        return answer.status, answer.headers(), answer.body().encode()

    with serve_function(reply) as gateway:
        settings = embedded_settings("http://127.0.0.1:1", OPENFAAS_GATEWAY=gateway)
        caller = FunctionCaller(gateway, "face-recognition", 30, 1, tracer=tracer)
        trigger = Trigger(
            settings, MemoryQueue(), memory_listings(), MemoryStore(), caller, tracer=tracer
        )
        trigger.start()
        with serve_wsgi(trigger.app) as url:
            yield url
            wait_until(lambda: trigger.queue.counts()["done"], "the video")
        trigger.stop()


def test_a_video_is_one_trace_from_the_event_to_the_stages(
    collector: Collector, home: Home, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "set"}
    of_trigger = open_tracer("rollcall-trigger", environ)
    of_function = open_tracer("rollcall-function", environ)
    service = FunctionService(lambda: home.pipeline, tracer=of_function)
    event = {"bucket": IN, "key": "a.mp4", "work_id": "w1"}
    headers = {"X-Trigger-Token": TOKEN, "traceparent": f"00-{TRACE}-{SENDER}-01"}
    with trigger_with(of_trigger, service) as url:
        for _ in range(3):  # deliveries of one event are accepted once
            assert httpx.post(url + "/events", json=event, headers=headers).status_code == 200
    service.drain(60)
    assert collector.services == {"rollcall-trigger", "rollcall-function"}
    assert set(collector.spans) == {"accept", "wait", "call", "recognise"}
    accept, wait, call, recognise = map(collector.one, ("accept", "wait", "call", "recognise"))
    for span in (accept, wait, call, recognise):
        assert span.trace_id.hex() == TRACE
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert attributes(span)["rollcall.work_id"] == "w1"
    assert accept.parent_span_id.hex() == SENDER
    assert wait.parent_span_id == call.parent_span_id == accept.span_id
    assert recognise.parent_span_id == call.span_id
    assert attributes(call)["rollcall.code"] == "recognised"
    assert attributes(recognise)["rollcall.stage.decode_ms"]
    assert "alice" not in str(collector.spans)


def test_a_failed_step_is_marked(collector: Collector, home: Home) -> None:
    tracer = open_tracer("rollcall-function", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "set"})
    service = FunctionService(lambda: home.pipeline, tracer=tracer)
    service.answer(json.dumps({"bucket": IN, "key": "gone.mp4"}).encode())
    service.drain(60)
    span = collector.one("recognise")
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(span)["rollcall.code"] == "gone"


def test_a_trace_that_its_sender_does_not_record_is_not_exported(
    collector: Collector, home: Home
) -> None:
    tracer = open_tracer("rollcall-function", {"OTEL_EXPORTER_OTLP_ENDPOINT": "set"})
    step = tracer.begin("call", f"00-{TRACE}-{SENDER}-00", VIDEO)
    assert valid_traceparent(step.traceparent) == step.traceparent
    assert step.traceparent.startswith(f"00-{TRACE}-")
    assert step.traceparent.endswith("-00")
    step.end()
    tracer.close()
    assert not collector.spans


def test_a_collector_that_is_down_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, home: Home, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    tracer = open_tracer("rollcall-function", {"OTEL_EXPORTER_OTLP_ENDPOINT": "set"})
    service = FunctionService(lambda: home.pipeline, tracer=tracer)
    assert service.answer(json.dumps({"bucket": IN, "key": "a.mp4"}).encode()).status == 200
    service.drain(60)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_without_a_collector_steps_only_have_ids(environ: dict[str, str]) -> None:
    tracer = open_tracer("rollcall-trigger", environ)
    assert isinstance(tracer, PlainTracer)
    given = derived_traceparent("w1")
    first, second = (tracer.begin("call", given, VIDEO) for _ in range(2))
    assert trace_id_of(first.traceparent) == trace_id_of(given)
    assert len({first.traceparent, second.traceparent, given}) == 3
    first.end({"a": 1}, failed=True)
    tracer.close()


def test_opentelemetry_is_imported_only_if_it_is_asked_for() -> None:
    program = "import sys, rollcall.tracing as t; t.open_tracer('x', {}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "rollcall.tracing" in done.stdout
    assert "opentelemetry" not in done.stdout


def test_a_missing_package_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "opentelemetry", None)
        patch.delitem(sys.modules, "rollcall.otel_tracing", raising=False)
        tracer = open_tracer("rollcall-trigger", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"})
    assert isinstance(tracer, PlainTracer)
    assert "pip install 'rollcall[otel]'" in caplog.text
