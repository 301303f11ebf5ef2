"""The function's answers to events: statuses, documents, headers, and log lines."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.home import IN, OUT, REPORTS, Home
from support.videos import paint_video, painted_gallery

from rollcall.core.call_signature import HEADER, signature
from rollcall.core.errors import StoreUnavailable
from rollcall.core.gallery_facts import HEADER as GALLERY
from rollcall.core.gallery_facts import STALE_GALLERY, gallery_facts_in
from rollcall.function.function_service import FunctionService
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.gallery.gallery_locations import CachedGallery, GalleryFile
from rollcall.logs import set_up_logs


@pytest.fixture
def service(home: Home) -> FunctionService:
    return FunctionService(lambda: home.pipeline)


def record(key: str, name: str = "ObjectCreated:Put", bucket: str = IN) -> dict[str, Any]:
    return {
        "eventSource": "ceph:s3",
        "eventName": name,
        "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
    }


def body(*records: dict[str, Any]) -> bytes:
    return json.dumps({"Records": records}).encode()


def test_the_answer_200_is_json_with_all_fields(
    home: Home, service: FunctionService, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    answer = service.answer(body(record("a.mp4")))
    document = json.loads(answer.body())
    assert answer.status == 200
    assert answer.headers()["Content-Type"] == "application/json"
    parts = {"status", "work_id", "video", "people", "coverage", "output", "timings_ms"}
    facts = {"duration_s", "uploaded_s", "recognised_s", "gallery", "engine", "kept", "corrected"}
    assert set(document) == parts | facts
    assert document["uploaded_s"] <= document["recognised_s"] <= time.time()
    assert (document["duration_s"], document["corrected"]) == (pytest.approx(1.0), False)
    metadata = home.store.metadata(OUT, "a.csv")
    assert [document[name] for name in ("gallery", "engine")] == [
        metadata[name] for name in ("gallery", "engine")
    ]


def logged(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    messages = [each.getMessage() for each in caplog.records]
    return [each for each in messages if each.startswith(start)]


def test_log_line_answer_result_and_report_of_a_video_have_one_work_id(
    home: Home, service: FunctionService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rollcall")
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red", "green"]))
    call = {"bucket": IN, "key": "a.mp4", "work_id": "0123456789abcdef"}
    document = service.answer(json.dumps(call).encode()).document
    assert document["work_id"] == "0123456789abcdef"
    assert home.store.metadata(OUT, "a.csv")["work-id"] == "0123456789abcdef"
    report = json.loads(home.store.read(REPORTS, "a.mp4.json", 1 << 20))
    assert report["work_id"] == "0123456789abcdef"
    (line,) = logged(caplog, "finished")
    assert re.fullmatch(
        rf"finished 'a\.mp4': recognised, people 2 \(1 unknown\), result {OUT}/a\.csv, \d+ ms,"
        r" work 0123456789abcdef",
        line,
    )
    assert "alice" not in caplog.text


def test_log_line_and_report_of_a_failed_video_have_one_work_id(
    home: Home, service: FunctionService, caplog: pytest.LogCaptureFixture
) -> None:
    home.put("a.mp4", b"no video")
    service.answer(json.dumps({"bucket": IN, "key": "a.mp4", "work_id": "w1"}).encode())
    (line,) = logged(caplog, "failed")
    assert line.startswith("failed 'a.mp4': ")
    assert line.endswith(", work w1")
    assert json.loads(home.store.read(REPORTS, "a.mp4.json", 1 << 20))["work_id"] == "w1"


TRACE, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"


def reported_trace(home: Home, key: str) -> str:
    found = json.loads(home.store.read(REPORTS, f"{key}.json", 1 << 20))["trace_id"]
    assert isinstance(found, str)
    return found


def test_report_and_log_lines_have_the_trace_of_the_call(
    home: Home, service: FunctionService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    home.put("broken.mp4", b"no video")
    caplog.set_level("INFO", "rollcall")
    set_up_logs("json")
    for key in ("a.mp4", "broken.mp4"):
        service.answer(body(record(key)), {"Traceparent": f"00-{TRACE}-{'1' * 16}-01"})
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    set_up_logs("text")
    for key, message in (("a.mp4", "finished "), ("broken.mp4", "failed ")):
        assert reported_trace(home, key) == TRACE
        (line,) = [each for each in lines if each["message"].startswith(message)]
        assert (line["key"], line["bucket"], line["trace_id"]) == (key, IN, TRACE)
        assert line["work"] in line["message"]


def test_the_trace_in_a_signed_call_counts_more_than_the_header(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    service = FunctionService(lambda: home.pipeline, "k" * 32, clock=lambda: 1.0)
    call = {"bucket": IN, "key": "a.mp4", "traceparent": f"00-{TRACE}-{'1' * 16}-01"}
    content = json.dumps(call).encode()
    headers = {HEADER: signature("k" * 32, content, 1.0)}
    service.answer(content, {**headers, "traceparent": f"00-{OTHER}-{'1' * 16}-01"})
    assert reported_trace(home, "a.mp4") == TRACE


def test_an_event_without_a_trace_gets_the_same_one_each_time(
    home: Home, service: FunctionService, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    found = set()
    for headers in ({}, {"traceparent": "00-broken"}):
        service.answer(body({**record("a.mp4"), "eventId": "e1"}), headers)
        found.add(reported_trace(home, "a.mp4"))
    (trace,) = found
    assert re.fullmatch("[0-9a-f]{32}", trace)


@pytest.mark.parametrize("given", [None, 7, "", "a b", "x" * 65, "a\nfinished 'b.mp4'", "é", ["x"]])
def test_an_invalid_work_id_is_replaced(
    home: Home, service: FunctionService, tmp_path: Path, given: Any
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    call = json.dumps({"bucket": IN, "key": "a.mp4", "work_id": given}).encode()
    ids = [service.answer(call).document["work_id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in ids)
    assert ids[0] != ids[1], "two calls without a usable id are two pieces of work"


def test_a_repeated_event_keeps_its_id_and_a_new_upload_gets_another(
    home: Home, service: FunctionService, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    first, second = ({**record("a.mp4"), "eventId": each} for each in ("e1", "e2"))
    found = [service.answer(body(each)).document["work_id"] for each in (first, first, second)]
    assert found[0] == found[1] != found[2]


def test_refused_calls_do_not_fill_the_log(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    service = FunctionService(lambda: home.pipeline, "k" * 32)
    for _ in range(100):
        assert service.answer(b"{}").status == 401
    assert 1 <= len(logged(caplog, "refused a call with 401")) < 10
    caplog.clear()
    unsigned = FunctionService(lambda: home.pipeline)
    assert unsigned.answer(b"not json").status == 400
    assert len(logged(caplog, "refused a call with 400: the event is not JSON")) == 1


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        (b"not json", 400, "bad_event"),
        (body(record("a.mp4", bucket="other-bucket")), 400, "bucket_not_allowed"),
        (body(record("missing.mp4")), 404, "gone"),
    ],
)
def test_permanent_errors_are_not_retryable(
    service: FunctionService, event: bytes, status: int, code: str
) -> None:
    answer = service.answer(event)
    assert (answer.status, answer.document["error"]["code"]) == (status, code)
    assert answer.document["error"]["retryable"] is False
    assert "Retry-After" not in answer.headers()


@pytest.mark.parametrize(
    "event", [b'{"Event": "s3:TestEvent"}', body(record("a.mp4", "ObjectRemoved:Delete"))]
)
def test_an_event_that_starts_no_work_is_ignored(service: FunctionService, event: bytes) -> None:
    answer = service.answer(event)
    assert (answer.status, answer.document["status"]) == (200, "ignored")
    assert answer.document["reason"]


def test_503_has_a_retry_after_header(home: Home, service: FunctionService) -> None:
    def down(bucket: str, key: str) -> Any:
        raise StoreUnavailable("no answer", retry_after_s=7)

    home.store.head = down  # type: ignore[method-assign]
    answer = service.answer(body(record("a.mp4")))
    assert (answer.status, answer.headers()["Retry-After"]) == (503, "7")
    assert answer.document["error"]["retryable"] is True


def test_500_has_no_traceback_but_a_call_id_that_is_in_the_log(
    home: Home, service: FunctionService, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(bucket: str, key: str) -> Any:
        raise ZeroDivisionError("inner detail")

    home.store.head = broken  # type: ignore[method-assign]
    answer = service.answer(body(record("a.mp4")))
    assert answer.status == 500
    assert "inner detail" not in answer.body()
    call_id = answer.document["error"]["message"].split()[-1]
    assert call_id in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_pipeline_that_cannot_be_built_is_tried_again_at_the_next_call(home: Home) -> None:
    builds: list[int] = []

    def build() -> Any:
        builds.append(1)
        if len(builds) == 1:
            raise OSError("the models are not there")
        return home.pipeline

    service = FunctionService(build)
    assert service.answer(body(record("a.mp4"))).status == 500
    assert service.answer(body(record("a.mp4"))).status == 404
    service.answer(body(record("a.mp4")))
    assert len(builds) == 2


def test_several_records_give_a_list_and_the_worst_status(
    home: Home, service: FunctionService, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    answer = service.answer(body(record("a.mp4"), record("missing.mp4")))
    assert answer.status == 404
    assert ["error" in document for document in answer.document] == [False, True]


def test_one_bad_record_does_not_affect_the_others(
    home: Home, service: FunctionService, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    answer = service.answer(body(record("a.mp4"), {"eventSource": "elsewhere"}))
    assert answer.status == 400
    assert ["error" in document for document in answer.document] == [False, True]
    assert home.result("a.csv")


def test_while_a_new_gallery_is_broken_the_old_one_is_used_and_a_header_says_so(
    home: Home, tmp_path: Path
) -> None:
    place = GalleryFile(tmp_path / "gallery.npz")
    place.save(render_gallery(painted_gallery(alice="red")))
    pipeline = dataclasses.replace(home.pipeline, galleries=CachedGallery(place, 0))
    service = FunctionService(lambda: pipeline)
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    seen = []
    for content in (place.load(), b"cos\nsystem\n(S'true'\ntR.", place.load()):
        place.save(content)
        answer = service.answer(body(record("a.mp4")))
        headers = answer.headers()
        seen.append((answer.document["people"][0]["name"], STALE_GALLERY in headers))
        facts = gallery_facts_in({name.lower(): value for name, value in headers.items()})
        assert facts
        assert (facts.people, facts.encodings) == (1, 1)
        assert facts.changed_s == pytest.approx(time.time(), abs=3600)
    assert seen == [("alice", False), ("alice", True), ("alice", False)]


def test_callers_without_the_key_do_not_learn_the_size_of_the_gallery(
    home: Home, tmp_path: Path
) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    service = FunctionService(lambda: home.pipeline, SIGNED, lambda: 1e9)
    call = body(record("a.mp4"))
    signed = service.answer(call, {HEADER: signature(SIGNED, call, 1e9)})
    assert GALLERY in signed.headers()
    assert GALLERY not in service.answer(call).headers()


SIGNED = "the shared key of trigger and function"


def test_with_a_key_unsigned_calls_are_answered_401(home: Home, tmp_path: Path) -> None:
    home.put("a.mp4", paint_video(tmp_path / "a.mp4", ["red"]))
    service = FunctionService(lambda: home.pipeline, SIGNED, lambda: 1e9)
    call = body(record("a.mp4"))
    answer = service.answer(call, {})
    assert (answer.status, answer.document["error"]["code"]) == (401, "not_signed")
    assert answer.headers()["Retry-After"] == "60"
    assert not list(home.store.list_objects(OUT))
    headers = {HEADER: signature(SIGNED, call, 1e9)}
    assert service.answer(call, headers).status == 200
    assert service.answer(call + b" ", headers).status == 401
    assert service.answer(b"not json", {}).status == 401


def test_headers_of_a_signed_call_are_ignored(home: Home) -> None:
    """Headers are not signed, so anyone could add `ce-*` headers, which change the event."""
    service = FunctionService(lambda: home.pipeline, SIGNED, lambda: 1e9)
    added = {"ce-type": "ObjectCreated:Put", "ce-source": f"x.y.{IN}", "ce-subject": "secret.mp4"}
    answer = service.answer(b"", {HEADER: signature(SIGNED, b"", 1e9), **added})
    assert (answer.status, answer.document["error"]["code"]) == (400, "bad_event")


def test_draining_waits_for_the_call_in_flight_and_refuses_new_ones(home: Home) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(bucket: str, key: str) -> Any:
        entered.set()
        assert release.wait(60)
        raise StoreUnavailable("late")

    home.store.head = slow  # type: ignore[method-assign]
    service = FunctionService(lambda: home.pipeline)
    answers: list[int] = []
    call = threading.Thread(target=lambda: answers.append(_status(service)))
    call.start()
    assert entered.wait(60)
    assert service.drain(0.05) is False
    assert service.answer(body(record("a.mp4"))).document["error"]["code"] == "shutting_down"
    release.set()
    assert service.drain(60) is True
    call.join()
    assert answers == [503]


def _status(service: FunctionService) -> int:
    return service.answer(body(record("a.mp4"))).status
