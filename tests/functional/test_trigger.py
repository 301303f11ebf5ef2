"""The trigger as a whole, with real HTTP on both sides."""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.databases import open_file
from support.listings import memory_listings
from support.needs import events_folder, need
from support.servers import Reply, done, refused, serve_function, serve_wsgi
from support.settings import TOKEN, embedded_settings
from support.waiting import wait_until

from rollcall.core.call_signature import check_signature
from rollcall.core.errors import (
    CallNotSigned,
    InboxUnavailable,
    SettingsError,
    StoreMisconfigured,
    StoreUnavailable,
)
from rollcall.core.gallery_facts import STALE_GALLERY
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.retry import RetryPolicy
from rollcall.core.settings import Settings
from rollcall.core.trace_context import trace_id_of, valid_traceparent
from rollcall.core.types import ObjectInfo, VideoRef
from rollcall.core.work import Notice, Work
from rollcall.logs import set_up_logs
from rollcall.queues.consumer import DEFAULT_WAITS, ConsumerWaits
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.memory import MemoryStore
from rollcall.trigger.access import checked_tokens
from rollcall.trigger.caller import FunctionCaller
from rollcall.trigger.events_endpoint import MAX_AT_ONCE
from rollcall.trigger.reconciler import REQUESTS_AT_ONCE
from rollcall.trigger.trigger_service import Trigger

IN, OUT = "input-bucket-video", "output-bucket-vid"

QUICK_WAITS = ConsumerWaits(idle_s=0.01, after_error_s=0.01, after_busy_s=0.01, settle_again_s=0.01)


class Running:
    """A running trigger: its address, queue and store, and the calls that its function received."""

    def __init__(self, url: str, trigger: Trigger, store: MemoryStore, calls: list[Any]) -> None:
        self.url = url
        self.trigger = trigger
        self.inbox = trigger.queue
        self.store = store
        self.calls = calls

    def post(self, content: bytes, **headers: str) -> httpx.Response:
        sent = httpx.Headers(headers, encoding="utf-8")
        return httpx.post(self.url + "/events", content=content, headers=sent, timeout=60)

    def settled(self) -> None:
        def no_work_left() -> bool:
            counts = self.inbox.counts()
            return counts["queued"] == counts["running"] == 0

        wait_until(no_work_left, f"all work to be done or dead; at first {self.inbox.counts()}")


@contextmanager
def running(
    reply: Callable[[dict[str, Any]], Reply | None],
    store: MemoryStore | None = None,
    queue: WorkQueue | None = None,
    *,
    quick: bool = False,
    **values: str,
) -> Iterator[Running]:
    """Run a trigger with a function that answers `reply`. With `quick`, pauses are short."""
    calls: list[dict[str, Any]] = []

    def record(call: dict[str, Any]) -> Reply | None:
        calls.append(call)
        return reply(call)

    store = store or MemoryStore()
    with serve_function(record) as gateway:
        settings = embedded_settings("http://127.0.0.1:1", OPENFAAS_GATEWAY=gateway, **values)
        policy = RetryPolicy.from_settings(settings)
        if quick:
            policy = replace(policy, first_delay_s=0.01, min_busy_delay_s=0.01)
        trigger = Trigger(
            settings,
            queue or MemoryQueue(),
            memory_listings(),
            store,
            _caller(settings),
            policy=policy,
            waits=QUICK_WAITS if quick else DEFAULT_WAITS,
        )
        trigger.start()
        with serve_wsgi(trigger.app, trigger.access.is_known) as url:
            yield Running(url, trigger, store, calls)
        trigger.stop()


def _caller(settings: Settings) -> FunctionCaller:
    return FunctionCaller(
        settings.openfaas_gateway,
        settings.openfaas_function,
        settings.function_timeout_s,
        4,
        settings.function_hmac_key,
    )


_NUMBER = itertools.count()


def event(key: str = "a.mp4", token: str = TOKEN, **fields: Any) -> bytes:
    record = {
        "eventSource": "ceph:s3",
        "eventName": "ObjectCreated:Put",
        "eventId": f"id-{next(_NUMBER)}",
        "opaqueData": token,
        "s3": {"bucket": {"name": IN}, "object": {"key": key, "eTag": "e1"}},
        **fields,
    }
    return json.dumps({"Records": [record]}).encode()


def test_an_event_becomes_one_call_of_the_function() -> None:
    with running(lambda call: done()) as trigger:
        assert trigger.post(event("week 1/a+b.mp4")).json()["queued"] == 1
        trigger.settled()
        (call,) = trigger.calls
    assert call["path"] == "/function/face-recognition"
    assert (call["bucket"], call["key"], call["etag"]) == (IN, "week 1/a+b.mp4", "e1")


def test_an_event_sent_ten_times_causes_one_call() -> None:
    same = event()
    with running(lambda call: done()) as trigger:
        answers = [trigger.post(same) for _ in range(10)]
        trigger.settled()
        assert [answer.status_code for answer in answers] == [200] * 10
        assert sum(answer.json()["queued"] for answer in answers) == 1
        assert len(trigger.calls) == 1


def test_a_new_upload_of_the_same_bytes_causes_a_new_call() -> None:
    with running(lambda call: done()) as trigger:
        trigger.post(event())
        trigger.settled()
        trigger.post(event())
        trigger.settled()
        assert len(trigger.calls) == 2


@pytest.mark.parametrize(
    ("name", "calls"),
    [("ceph-put", 1), ("ceph-put-odd-key", 1), ("ceph-multipart", 1), ("ceph-delete", 0)],
)
def test_events_of_a_real_ceph_gateway_are_accepted(name: str, calls: int) -> None:
    """Their bucket is `lecture-videos`. Their token is too short for ours, so it is replaced."""
    body = (events_folder() / f"{name}.json").read_bytes()
    assert b'"tok"' in body
    body = body.replace(b'"tok"', json.dumps(TOKEN).encode())
    values = {"INPUT_BUCKET": "lecture-videos"}
    with running(lambda call: done(), **values) as trigger:
        assert trigger.post(body).status_code == 200
        trigger.settled()
        assert len(trigger.calls) == calls


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", "é"])
def test_without_the_token_nothing_is_stored(token: str) -> None:
    with running(lambda call: done()) as trigger:
        assert trigger.post(event(token=token)).status_code == 401
        assert trigger.post(b"broken").status_code == 401
        assert httpx.get(trigger.url + "/").status_code == 401
        assert sum(trigger.inbox.counts().values()) == 0


def test_one_record_without_the_token_refuses_the_whole_event() -> None:
    records = [json.loads(event(token=token))["Records"][0] for token in (TOKEN, "wrong")]
    with running(lambda call: done()) as trigger:
        assert trigger.post(json.dumps({"Records": records}).encode()).status_code == 401


def test_the_token_is_accepted_in_a_header_and_as_basic_auth() -> None:
    with running(lambda call: done()) as trigger:
        assert trigger.post(event(token=""), **{"X-Trigger-Token": TOKEN}).status_code == 200
        url = trigger.url.replace("http://", f"http://any:{TOKEN}@")
        assert httpx.post(url + "/events", content=event(token="")).status_code == 200


@pytest.mark.parametrize(
    "value", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN}", f"BeArEr {TOKEN}"]
)
def test_the_token_is_accepted_as_a_bearer_token(value: str) -> None:
    """MinIO sends its auth_token in this form."""
    stored = {"bucket": {"name": IN}, "object": {"key": "week+1%2Fa.mp4"}}
    record = {"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "s3": stored}
    body = {"EventName": record["eventName"], "Key": f"{IN}/week 1/a.mp4", "Records": [record]}
    with running(lambda call: done()) as trigger:
        assert trigger.post(json.dumps(body).encode(), Authorization=value).status_code == 200
        trigger.settled()
        assert [call["key"] for call in trigger.calls] == ["week 1/a.mp4"]
        assert httpx.get(trigger.url, headers={"Authorization": value}).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer{TOKEN}",
        TOKEN,
        f"Token {TOKEN}",
        "Bearer é",
    ],
)
def test_the_answer_to_a_wrong_bearer_token_lists_where_the_token_may_be(value: str) -> None:
    with running(lambda call: done()) as trigger:
        answer = trigger.post(event(token=""), Authorization=value)
    assert answer.status_code == 401
    message = answer.json()["error"]["message"]
    for place in ("opaqueData", "X-Trigger-Token", "Authorization: Bearer TOKEN", "basic auth"):
        assert place in message


@pytest.mark.parametrize(
    "token",
    ["a=b" * 6, "a=b;c=d;e=f;g=h;i=j", "more than two words", "Zürich" * 3, "ends-in-signs-=="],
)
def test_a_token_with_any_characters_is_accepted_in_each_form(token: str) -> None:
    with running(lambda call: done(), TRIGGER_TOKEN=token) as trigger:
        assert trigger.post(event(token=token)).status_code == 200
        for headers in ({"X-Trigger-Token": token}, {"Authorization": f"Bearer {token}"}):
            assert trigger.post(event(token=""), **headers).status_code == 200
        basic = httpx.BasicAuth("any", token)
        url = trigger.url + "/events"
        assert httpx.post(url, content=event(token=""), auth=basic).status_code == 200


def test_an_authorization_header_of_a_proxy_does_not_hide_the_token() -> None:
    headers = {"X-Trigger-Token": TOKEN, "Authorization": "Bearer of-a-proxy"}
    with running(lambda call: done()) as trigger:
        assert trigger.post(event(token=""), **headers).status_code == 200


def _bridge(detail_type: str = "Object Created") -> dict[str, Any]:
    detail = {"bucket": {"name": IN}, "object": {"key": "a+b.mp4", "sequencer": "1"}}
    return {"source": "aws.s3", "detail-type": detail_type, "detail": detail}


def test_eventbridge_events_become_calls() -> None:
    headers = {"X-Trigger-Token": TOKEN}
    queued = {"Records": [{"eventSource": "aws:sqs", "body": json.dumps(_bridge())}]}
    with running(lambda call: done()) as trigger:
        answers = [
            trigger.post(json.dumps(body).encode(), **headers).json()
            for body in (_bridge(), queued, _bridge("Object Deleted"))
        ]
        trigger.settled()
        assert [each["queued"] for each in answers] == [1, 0, 0]
        assert [each["duplicate"] for each in answers] == [0, 1, 0]
        assert answers[2]["ignored"] == 1
        assert [call["key"] for call in trigger.calls] == ["a+b.mp4"]


def test_structured_cloud_events_become_calls() -> None:
    """The token is in the record inside each event."""
    record = json.loads(event("a+b.mp4"))["Records"][0]
    one = {"specversion": "1.0", "type": "com.amazonaws.ObjectCreated:Put", "data": record}
    headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
    with running(lambda call: done()) as trigger:
        answer = trigger.post(json.dumps(one).encode(), **headers)
        assert (answer.status_code, answer.json()["queued"]) == (200, 1)
        batch = [one | {"data": json.loads(event(key))["Records"][0]} for key in ("b.mp4", "c.mp4")]
        headers["Content-Type"] = "application/cloudevents-batch+json"
        assert trigger.post(json.dumps(batch).encode(), **headers).json()["queued"] == 2
        trigger.settled()
        assert {call["key"] for call in trigger.calls} == {"a+b.mp4", "b.mp4", "c.mp4"}


@pytest.mark.parametrize("odd", [1, 1.5, True, [1], {"a": 1}, "x" * 2000, "0001-01-01T00:00:00"])
def test_optional_fields_of_any_type_do_not_prevent_the_call(odd: Any) -> None:
    headers = {"X-Trigger-Token": TOKEN}
    object_ = {"key": "a.mp4", "eTag": odd, "sequencer": odd, "versionId": odd, "size": odd}
    s3 = {"bucket": {"name": IN}, "object": object_}
    others = dict.fromkeys(("eventTime", "eventId", "awsRegion", "responseElements"), odd)
    with running(lambda call: done()) as trigger:
        body = event(s3=s3, opaqueData=odd, **others)
        assert trigger.post(body, **headers).json()["queued"] == 1
        assert trigger.post(body, **headers).json()["duplicate"] == 1
        trigger.settled()
        assert len(trigger.calls) == 1


def logged(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    messages = [each.getMessage() for each in caplog.records]
    return [each for each in messages if each.startswith(start)]


def test_the_log_line_of_a_finished_video_has_the_work_id_of_its_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "rollcall")
    people = [{"name": "Ada Lovelace"}, {"name": "unknown"}]
    answer = {"status": "recognised", "people": people, "output": {"bucket": OUT, "key": "a.csv"}}
    with running(lambda call: (200, {}, json.dumps(answer).encode())) as trigger:
        trigger.post(event("a.mp4"))
        trigger.settled()
        (call,) = trigger.calls
        wait_until(lambda: bool(logged(caplog, "finished")), "the line")
        page = httpx.get(trigger.url, headers={"X-Trigger-Token": TOKEN}).text
    assert re.fullmatch("[0-9a-f]{16}", call["work_id"])
    (line,) = logged(caplog, "finished")
    assert re.fullmatch(
        r"finished 'a\.mp4': recognised, people 2 \(1 unknown\), result output-bucket-vid/a\.csv,"
        rf" \d+ ms, work {call['work_id']}",
        line,
    )
    assert call["work_id"] in page
    assert "Ada" not in caplog.text


def test_all_attempts_and_the_dead_letter_have_the_same_work_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with running(lambda call: refused(503, "down"), MAX_ATTEMPTS="3", quick=True) as trigger:
        trigger.post(event("a.mp4"))
        trigger.settled()
        wait_until(lambda: bool(logged(caplog, "dead letter")), "the line")
        (work_id,) = {call["work_id"] for call in trigger.calls}
        assert len(trigger.calls) == 3
    (line,) = logged(caplog, "dead letter")
    assert line.endswith(f" ms, work {work_id}")
    assert len(logged(caplog, "'a.mp4' is retried in")) == 2


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "no token"),
        ({"Authorization": "Bearer s3cr3t"}, "wrong token in Authorization: Bearer"),
        ({"X-Trigger-Token": "s3cr3t"}, "wrong token in X-Trigger-Token"),
        ({"Authorization": "s3cr3t"}, "wrong token in Authorization"),
    ],
)
def test_the_log_line_of_a_refused_event_has_the_sender_but_not_the_token(
    caplog: pytest.LogCaptureFixture, headers: dict[str, str], reason: str
) -> None:
    with running(lambda call: done()) as trigger:
        trigger.post(event(token=""), **headers)
    assert logged(caplog, "refused an event") == [f"refused an event of 127.0.0.1: {reason}"]
    assert "s3cr3t" not in caplog.text


def test_refused_and_bad_events_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rollcall")
    with running(lambda call: done()) as trigger:
        for number in range(20):
            trigger.post(event(token="wrong"))
            trigger.post(b"broken", **{"X-Trigger-Token": TOKEN})
            trigger.post(event(f"{number}.txt"))
        metrics = httpx.get(trigger.url + "/metrics").text
        assert trigger.inbox.counts()["bad"] == 20
    for start in ("refused an event", "bad event", "skipped"):
        assert 1 <= len(logged(caplog, start)) < 10
    for outcome in ("refused", "bad", "skipped"):
        assert f'rollcall_events_total{{outcome="{outcome}"}} 20.0' in metrics


def test_uploads_that_are_not_videos_are_skipped_logged_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "rollcall")
    records = [json.loads(event(key))["Records"][0] for key in ("notes.txt", "a.mp4", "b.jpg")]
    with running(lambda call: done()) as trigger:
        answer = trigger.post(json.dumps({"Records": records}).encode()).json()
        trigger.settled()
        assert (answer["queued"], answer["skipped"]) == (1, 2)
        assert [call["key"] for call in trigger.calls] == ["a.mp4"]
    assert logged(caplog, "skipped") == [
        "skipped 'notes.txt': it has no video extension",
        "skipped 'b.jpg': it has no video extension",
    ]


def test_the_reconciler_logs_and_counts_objects_that_are_not_videos(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "rollcall")
    store = MemoryStore()
    for key in ("a.txt", "b.txt", "c.txt", "d.txt", "folder/", "x.mp4"):
        store.write(IN, key, b"1", "", {})
    with running(lambda call: done(), store, RECONCILE_S="1") as trigger:
        wait_until(lambda: bool(trigger.calls), "a call")
        trigger.trigger._reconciler.reconcile()
        metrics = httpx.get(trigger.url + "/metrics").text
    assert "rollcall_not_videos 4.0" in metrics
    assert logged(caplog, "skipped") == [
        f"skipped in {IN}: 4 without a video extension ('a.txt', 'b.txt', 'c.txt', ...)"
    ]


def test_an_event_whose_type_is_a_list_is_bad() -> None:
    with running(lambda call: done()) as trigger:
        answer = trigger.post(b'{"Type": ["Notification"]}', **{"X-Trigger-Token": TOKEN})
        assert (answer.status_code, answer.json()["bad"]) == (200, 1)


@pytest.mark.parametrize(
    "body", [b"", b"broken", b"[]", b'{"Records": 3}', event(s3={}), b"\xff" * 9]
)
def test_a_broken_event_is_recorded_and_answered_2xx(body: bytes) -> None:
    """After an error, the store would send the same event again and again."""
    with running(lambda call: done()) as trigger:
        answer = trigger.post(body, **{"X-Trigger-Token": TOKEN})
        assert (answer.status_code, answer.json()["bad"]) == (200, 1)
        (bad,) = trigger.inbox.bad_events(10)
        assert bad.body == body.replace(TOKEN.encode(), b"[token]")
        assert bad.reason


def test_one_bad_record_does_not_affect_the_other_records() -> None:
    good, bad = (json.loads(event(key))["Records"][0] for key in ("a.mp4", "b.mp4"))
    del bad["s3"]
    with running(lambda call: done()) as trigger:
        answer = trigger.post(json.dumps({"Records": [bad, good]}).encode()).json()
        trigger.settled()
        assert (answer["queued"], answer["bad"]) == (1, 1)
        assert [call["key"] for call in trigger.calls] == ["a.mp4"]


def test_an_event_of_another_bucket_is_recorded_as_bad() -> None:
    s3 = {"bucket": {"name": "payroll"}, "object": {"key": "a.mp4"}}
    with running(lambda call: done()) as trigger:
        assert trigger.post(event(s3=s3)).status_code == 200
        assert trigger.inbox.counts()["bad"] == 1
        assert not trigger.calls


def test_the_record_of_a_bad_event_does_not_contain_the_token() -> None:
    s3 = {"bucket": {"name": "payroll"}, "object": {"key": "a.mp4"}}
    with running(lambda call: done()) as trigger:
        trigger.post(event(s3=s3))
        (bad,) = trigger.inbox.bad_events(10)
        assert TOKEN.encode() not in bad.body


def test_with_two_tokens_events_with_either_are_accepted_and_neither_is_recorded() -> None:
    """The old token stays valid until all senders have the new one."""
    new = "newer-token-of-the-trigger"
    s3 = {"bucket": {"name": "payroll"}, "object": {"key": "a.mp4"}}
    with running(lambda call: done(), TRIGGER_TOKEN=f"{new},{TOKEN}") as trigger:
        for token in (new, TOKEN):
            assert trigger.post(event(token=token)).status_code == 200
            assert trigger.post(event(token=""), **{"X-Trigger-Token": token}).status_code == 200
            assert httpx.get(trigger.url, auth=("any", token)).status_code == 200
            trigger.post(event(token=token, s3=s3))
        for wrong in (f"{new},{TOKEN}", "", ",", new[:-1]):
            assert trigger.post(event(token=wrong)).status_code == 401
        bodies = [bad.body for bad in trigger.inbox.bad_events(10)]
        assert len(bodies) == 2
        for body in bodies:
            assert b"[token]" in body
            assert new.encode() not in body
            assert TOKEN.encode() not in body


@pytest.mark.parametrize(
    ("tokens", "problem"),
    [
        (f"{TOKEN},short", "has to be at least 16 characters long, not 5"),
        (f"{TOKEN},{TOKEN}1,{TOKEN}2", "one secret, or two with a comma between them"),
        (",", "one secret, or two with a comma between them"),
        ("", "is not set"),
    ],
)
def test_wrong_tokens_are_refused_without_showing_them(tokens: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as caught:
        checked_tokens(tokens)
    assert str(caught.value).startswith("TRIGGER_TOKEN ")
    assert TOKEN not in str(caught.value)


def test_after_a_busy_answer_calls_for_other_videos_wait() -> None:
    """Otherwise the function would get a call for every waiting video, although it is busy."""
    with running(lambda call: (429, {}, b"busy"), MAX_INFLIGHT="2") as trigger:
        begun_s = time.monotonic()
        trigger.inbox.add([VideoRef(IN, f"{n}.mp4", event_id=str(n)) for n in range(200)])
        wait_until(lambda: trigger.calls, "the first call")
        threading.Event().wait(2)
        calls = len(trigger.calls)
        # Two calls at most in each pause, however long this thread has slept.
        assert calls <= 2 * (time.monotonic() - begun_s + 3) / DEFAULT_WAITS.after_busy_s
        assert trigger.inbox.counts()["dead"] == 0


def test_a_body_beyond_the_limit_is_refused() -> None:
    with running(lambda call: done()) as trigger:
        headers = {"X-Trigger-Token": TOKEN}
        assert trigger.post(b" " * (1 << 20) + b"{}", **headers).status_code == 413


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "bad_event"),
        (404, "gone"),
        (413, "too_large"),
        (413, "too_slow"),
        (422, "not_a_video"),
    ],
)
def test_a_permanent_error_makes_a_dead_letter_after_one_call(status: int, code: str) -> None:
    with running(lambda call: refused(status, code)) as trigger:
        trigger.post(event())
        trigger.settled()
        (dead,) = trigger.inbox.latest(10, "dead")
        assert (dead.code, dead.message, dead.calls) == (code, f"says {code}", 1)


@pytest.mark.parametrize(
    ("first", "calls"),
    [
        (refused(503, "store_unavailable"), 2),
        (refused(500, "internal"), 2),
        ((429, {}, b"busy"), 2),
        ((502, {}, b"<html>bad gateway</html>"), 2),
        ((200, {}, b"<html>a proxy's page</html>"), 2),
        ((200, {"Content-Length": "100"}, b'{"status": "recog'), 2),
        (None, 2),
    ],
    ids=["503", "500", "429", "proxy", "page", "half a body", "reset"],
)
def test_a_temporary_error_is_retried(first: Reply | None, calls: int) -> None:
    answers = iter([first])
    with running(lambda call: next(answers, done()), quick=True) as trigger:
        trigger.post(event())
        trigger.settled()
        assert trigger.inbox.counts()["done"] == 1
        assert len(trigger.calls) == calls


def test_a_call_without_an_answer_is_retried_after_its_time_out() -> None:
    never, calls = threading.Event(), []

    def reply(call: dict[str, Any]) -> Reply:
        calls.append(call)
        if len(calls) == 1:
            never.wait(60)
        return done()

    with running(reply, FUNCTION_TIMEOUT_S="1", quick=True) as trigger:
        trigger.post(event())
        wait_until(lambda: trigger.inbox.counts()["done"], "the second call")
        never.set()


def test_a_video_that_fails_at_every_attempt_is_a_dead_letter_that_can_be_replayed() -> None:
    healthy: list[bool] = []

    def reply(call: dict[str, Any]) -> Reply:
        return done() if healthy else refused(503, "store_unavailable")

    with running(reply, MAX_ATTEMPTS="4", quick=True) as trigger:
        trigger.post(event())
        trigger.settled()
        (dead,) = trigger.inbox.latest(10, "dead")
        assert (dead.attempts, len(trigger.calls)) == (4, 4)
        assert "after 4 attempts" in dead.message
        healthy.append(True)
        assert trigger.inbox.replay() == 1
        trigger.settled()
        assert trigger.inbox.counts()["done"] == 1


def test_an_unexpected_error_is_tried_only_a_few_times() -> None:
    with running(lambda call: refused(500, "internal"), MAX_ATTEMPTS="8", quick=True) as trigger:
        trigger.post(event())
        trigger.settled()
        assert len(trigger.calls) == RetryPolicy().max_unexpected_attempts


@pytest.mark.parametrize(
    "foreign",
    [
        (500, {"X-OpenFaaS-Internal": "of-watchdog"}, b""),
        (500, {}, b"Can't reach service for: face-recognition."),
        (404, {"Content-Type": "text/html"}, b"<html>404 Not Found</html>"),
        (400, {}, b'{"error": "Bad Request"}'),
    ],
    ids=["watchdog", "faas-netes", "proxy's page", "proxy's JSON"],
)
def test_errors_of_other_programs_are_retried_until_the_last_attempt(foreign: Reply) -> None:
    """The function may be starting, or a route may be missing: neither is the video's fault."""
    calls: list[dict[str, Any]] = []

    def reply(call: dict[str, Any]) -> Reply:
        calls.append(call)
        return done() if len(calls) == 6 else foreign

    with running(reply, MAX_ATTEMPTS="6", quick=True) as trigger:
        trigger.post(event())
        trigger.settled()
        assert (trigger.inbox.counts()["done"], len(calls)) == (1, 6)


def test_errors_of_other_programs_lead_to_a_dead_letter_in_the_end() -> None:
    with running(lambda call: (500, {}, b""), MAX_ATTEMPTS="5", quick=True) as trigger:
        trigger.post(event())
        trigger.settled()
        (dead,) = trigger.inbox.latest(10, "dead")
        assert (dead.code, dead.calls) == ("http_500", 5)


def test_at_most_max_inflight_calls_run_at_once() -> None:
    lock, now, most, together = threading.Lock(), [0], [0], threading.Barrier(2)

    def reply(call: dict[str, Any]) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        together.wait(60)
        with lock:
            now[0] -= 1
        return done()

    with running(reply, MAX_INFLIGHT="2") as trigger:
        for number in range(8):
            trigger.post(event(f"{number}.mp4"))
        trigger.settled()
        assert len(trigger.calls) == 8
    assert most[0] == 2


def test_two_calls_for_one_object_never_run_at_once() -> None:
    busy = threading.Lock()
    overlaps: list[Any] = []

    def reply(call: dict[str, Any]) -> Reply:
        if not busy.acquire(blocking=False):
            overlaps.append(call)
            return done()
        threading.Event().wait(0.05)
        busy.release()
        return done()

    with running(reply) as trigger:
        for _ in range(5):
            trigger.post(event())
        trigger.settled()
        assert len(trigger.calls) == 5
    assert not overlaps


def test_work_that_a_dead_process_had_claimed_is_requeued_at_the_start() -> None:
    queue = MemoryQueue()
    queue.add([VideoRef(IN, "a.mp4", event_id="cut off")])
    assert queue.claim(1, 3600)
    with running(lambda call: done(), queue=queue) as trigger:
        trigger.settled()
        assert trigger.inbox.counts()["done"] == 1


def wait_for_reconciled(trigger: Running) -> None:
    """Wait until one video is counted. Its call may end before the scan has counted it."""

    def counted() -> bool:
        return "rollcall_reconciled_total 1.0" in httpx.get(trigger.url + "/metrics").text

    wait_until(counted, "the count of the videos that the scan has queued")


def test_the_reconciler_finds_a_video_without_an_event() -> None:
    def reply(call: dict[str, Any]) -> Reply:
        source = trigger.store.head(IN, call["key"]).etag
        metadata = {"source-etag": source}
        trigger.store.write(OUT, "lost.csv", b"", "text/csv", metadata)
        return done()

    with running(reply, RECONCILE_S="1") as trigger:
        trigger.store.write(IN, "lost.mp4", b"1", "video/mp4", {})
        trigger.store.write(IN, "notes.txt", b"1", "text/plain", {})
        wait_until(lambda: trigger.inbox.counts()["done"], "the reconciler")
        assert [call["key"] for call in trigger.calls] == ["lost.mp4"]
        wait_until(lambda: trigger.trigger.metrics.scanned_s, "the end of the scan")
        wait_for_reconciled(trigger)
        page = httpx.get(trigger.url + "/metrics").text
        status = httpx.get(trigger.url, auth=("any", TOKEN)).text
    assert "rollcall_reconciled_total 1.0" in page
    scanned = re.search(r"\nrollcall_reconcile_last_success_timestamp_seconds (\S+)", page)
    assert scanned
    assert float(scanned[1]) == pytest.approx(time.time(), abs=3600)
    assert re.search(r"Last complete scan of the buckets</dt><dd>\d+ s ago", status)


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_every_call_for_a_video_belongs_to_the_trace_of_its_event() -> None:
    answers = iter([refused(503, "store_unavailable"), done()])
    with running(lambda call: next(answers), quick=True) as trigger:
        trigger.post(event(), traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        trigger.settled()
        first, second = trigger.calls
    for call in (first, second):
        assert trace_id_of(call["headers"]["traceparent"]) == TRACE
        assert call["traceparent"] == call["headers"]["traceparent"]
    assert first["traceparent"] != second["traceparent"], "each call is a step of its own"


def test_every_log_line_about_a_video_has_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rollcall")
    answers = iter([refused(503, "store_unavailable"), done(), refused(404, "gone")])
    set_up_logs("json")
    try:
        with running(lambda call: next(answers), quick=True) as trigger:
            for key, last in (("a.mp4", "finished"), ("b.mp4", "dead letter")):
                trigger.post(event(key), traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
                # The work ends a moment before the line about it.
                wait_until(lambda last=last: last in caplog.text, last)  # type: ignore[misc]
            ids = {call["key"]: call["work_id"] for call in trigger.calls}
        lines = [json.loads(line) for line in caplog.text.splitlines()]
    finally:
        set_up_logs("text")
    found = [line for line in lines if "work" in line]
    assert [line["message"].split(" ")[0] for line in found] == ["'a.mp4'", "finished", "dead"]
    for line in found:
        assert (line["bucket"], line["trace_id"]) == (IN, TRACE)
        assert line["work"] == ids[line["key"]]
        assert line["work"] in line["message"]


def test_each_video_of_an_event_without_a_trace_gets_one() -> None:
    records = [json.loads(event(key))["Records"][0] for key in ("a.mp4", "b.mp4")]
    with running(lambda call: done()) as trigger:
        trigger.post(json.dumps({"Records": records}).encode(), traceparent="00-not-valid")
        trigger.settled()
        works = trigger.inbox.latest(10)
        traces = {call["key"]: call["traceparent"] for call in trigger.calls}
    assert len({trace_id_of(each) for each in traces.values()}) == 2
    for work in works:
        assert valid_traceparent(traces[work.key]) == traces[work.key]
        assert trace_id_of(work.traceparent) == trace_id_of(traces[work.key])


def test_calls_are_retried_while_the_function_has_another_key() -> None:
    """Once somebody has corrected the key, the work is done."""
    key, wanted = "k" * 32, ["j" * 32]

    def reply(call: dict[str, Any]) -> Reply:
        try:
            check_signature(wanted[0], call["raw"], call["headers"], time.time())
        except CallNotSigned:
            return refused(401, "not_signed")
        return done()

    # So many attempts that none is the last one, if this thread gets no processor for a while.
    with running(reply, quick=True, FUNCTION_HMAC_KEY=key, MAX_ATTEMPTS="100") as trigger:
        trigger.post(event())
        wait_until(lambda: len(trigger.calls) > 2, "some attempts")
        assert trigger.inbox.counts()["dead"] == 0
        wanted[0] = key
        trigger.settled()
        assert trigger.inbox.counts()["done"] == 1


@pytest.mark.parametrize(("headers", "gauge"), [({STALE_GALLERY: "1"}, "1.0"), ({}, "0.0")])
def test_the_metrics_show_whether_the_function_uses_an_old_gallery(
    headers: dict[str, str], gauge: str
) -> None:
    status, _, body = done()
    with running(lambda call: (status, headers, body)) as trigger:
        trigger.post(event())
        trigger.settled()
        metrics = httpx.get(trigger.url + "/metrics").text
    assert f"rollcall_gallery_stale {gauge}" in metrics


class FailingStore(MemoryStore):
    """Answers one HEAD request, and is unavailable after that."""

    def __init__(self) -> None:
        super().__init__()
        self._left = iter([True])

    def head(self, bucket: str, key: str) -> ObjectInfo:
        if not next(self._left, False):
            raise StoreUnavailable("no answer")
        return super().head(bucket, key)


def test_videos_found_before_the_store_becomes_unavailable_are_counted() -> None:
    store = FailingStore()
    for key in ("a.mp4", "b.mp4"):
        store.write(IN, key, b"1", "video/mp4", {})
    with running(lambda call: done(), store=store) as trigger:
        wait_until(lambda: trigger.inbox.counts()["done"], "the call")
        wait_for_reconciled(trigger)


class SlowStore(MemoryStore):
    """Counts HEAD requests, and answers them after `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on, self.heads = threading.Event(), 0
        self._lock = threading.Lock()

    def head(self, bucket: str, key: str) -> ObjectInfo:
        with self._lock:
            self.heads += 1
        assert self.go_on.wait(60)
        return super().head(bucket, key)


def test_a_stop_ends_claims_at_once_and_a_scan_before_its_next_object() -> None:
    """No further call or request begins, even while the scan still waits for the store."""
    store, answer = SlowStore(), threading.Event()
    for number in range(50):
        store.write(IN, f"{number}.mp4", b"1", "video/mp4", {})

    def reply(call: dict[str, Any]) -> Reply:
        answer.wait(60)
        return done()

    with running(reply, store=store, MAX_INFLIGHT="1") as trigger:
        wait_until(lambda: store.heads == REQUESTS_AT_ONCE, "the scan's requests")
        for number in range(5):
            trigger.post(event(f"sent/{number}.mp4"))
        wait_until(lambda: trigger.calls, "the first call")
        stopped = threading.Event()
        stop = threading.Thread(target=lambda: (trigger.trigger.stop(), stopped.set()))
        stop.start()
        wait_until(lambda: trigger.trigger.dispatcher._halted, "the stop to begin")
        answer.set()
        wait_until(lambda: not trigger.trigger.dispatcher.alive(), "the dispatcher to end")
        assert not stopped.is_set(), "the scan still waits for its store"
        assert len(trigger.calls) == 1
        store.go_on.set()
        stop.join(60)
        assert stopped.is_set()
        assert store.heads == REQUESTS_AT_ONCE
        assert len(trigger.calls) == 1


class EndlessStore(MemoryStore):
    """Has a bucket with an endless list of objects."""

    def list_objects(self, bucket: str) -> Iterator[ObjectInfo]:
        for number in itertools.count():
            yield ObjectInfo(bucket, f"{number}.txt", 1, "e")


def test_a_stop_ends_a_listing_too() -> None:
    with running(lambda call: done(), store=EndlessStore()) as trigger:
        stop = threading.Thread(target=trigger.trigger.stop, daemon=True)
        stop.start()
        stop.join(60)
        assert not stop.is_alive()


class ForeignStore(MemoryStore):
    """Lists the objects of another account, but refuses to read them."""

    def head(self, bucket: str, key: str) -> ObjectInfo:
        self._refuse(key)
        return super().head(bucket, key)

    def metadata(self, bucket: str, key: str) -> Mapping[str, str]:
        self._refuse(key)
        return super().metadata(bucket, key)

    def _refuse(self, key: str) -> None:
        if key.startswith("foreign"):
            raise StoreMisconfigured("head_object: refused with 403")


def test_an_object_that_may_not_be_read_does_not_delay_other_objects() -> None:
    """The call for such an object fails once. A result that cannot be read proves nothing."""
    store = ForeignStore()
    for key in ("foreign-1.mp4", "foreign-2.mp4", "own.mp4"):
        store.write(IN, key, b"1", "video/mp4", {})
    store.write(OUT, "foreign-2.csv", b"", "text/csv", {})

    def reply(call: dict[str, Any]) -> Reply:
        if call["key"] == "own.mp4":
            source = {"source-etag": store.head(IN, "own.mp4").etag}
            store.write(OUT, "own.csv", b"", "text/csv", source)
            return done()
        return refused(422, "not_a_video")

    etag = MemoryStore.head(store, IN, "foreign-2.mp4").etag
    sent = {"bucket": {"name": IN}, "object": {"key": "foreign-2.mp4", "eTag": etag}}
    with running(reply, store=store, RECONCILE_S="1") as trigger:
        trigger.post(event(s3=sent))
        wait_until(lambda: trigger.inbox.counts()["done"], "the reconciler")
        wait_until(lambda: trigger.inbox.counts()["dead"] == 2, "two dead letters")
        store.write(IN, "later.mp4", b"1", "video/mp4", {})
        wait_until(lambda: trigger.inbox.counts()["dead"] == 3, "another scan")
        keys = sorted(call["key"] for call in trigger.calls)
    assert keys == ["foreign-1.mp4", "foreign-2.mp4", "later.mp4", "own.mp4"]


def test_a_video_whose_answers_were_lost_is_done_once_its_result_is_found() -> None:
    def reply(call: dict[str, Any]) -> None:
        source = trigger.store.head(IN, call["key"]).etag
        trigger.store.write(OUT, "a.csv", b"", "text/csv", {"source-etag": source})

    values = {"RECONCILE_S": "1", "MAX_ATTEMPTS": "2"}
    with running(reply, **values, quick=True) as trigger:
        trigger.store.write(IN, "a.mp4", b"1", "video/mp4", {})
        wait_until(lambda: trigger.inbox.counts()["done"], "the result to be found")
        (work,) = trigger.inbox.latest(10)
        assert (work.code, work.calls, len(trigger.calls)) == ("result_found", 2, 2)


def test_a_dead_letter_whose_result_key_would_be_too_long_stays_dead() -> None:
    """The key has the largest length, so the key of its result would be too long."""
    key = "x" * 1020 + ".mov"
    store = MemoryStore()
    with running(lambda call: refused(400, "key_not_usable"), store, RECONCILE_S="1") as trigger:
        trigger.post(event(key))
        trigger.settled()
        work = trigger.inbox.latest(1)[0]
        store.write(IN, key, b"1", "video/mp4", {})
        info = replace(store.head(IN, key), etag=work.etag)
        store._objects[IN, key] = (info, b"1", {})
        store.write(IN, "last.mp4", b"1", "video/mp4", {})
        wait_until(lambda: len(trigger.calls) > 1, "the next listing")
        trigger.settled()
        assert {work.state for work in trigger.inbox.latest(10)} == {"dead"}


class FailingQueue(MemoryQueue):
    """Refuses to write while `read_only` is set, like a file on a read-only disk."""

    read_only = False
    refused_ends = 0

    def add(self, videos: Iterable[VideoRef]) -> int:
        self._check()
        return super().add(videos)

    def claim(self, limit: int, lease_s: float) -> list[Work]:
        self._check()
        return super().claim(limit, lease_s)

    def finish(
        self, work: Work, code: str, notice: Notice | None = None, document: str = ""
    ) -> None:
        self.refused_ends += self.read_only
        self._check()
        super().finish(work, code, notice, document)

    def _check(self) -> None:
        if self.read_only:
            raise InboxUnavailable("attempt to write a readonly database")


class StuckQueue(MemoryQueue):
    """Stores nothing until `go_on` is set, like a database that waits for its standby."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.go_on = threading.Semaphore(0), threading.Event()

    def add(self, videos: Iterable[VideoRef]) -> int:
        self.waiting.release()
        assert self.go_on.wait(60)
        return super().add(videos)


def test_health_is_answered_while_events_wait_for_the_database() -> None:
    queue = StuckQueue()
    with running(lambda call: done(), queue=queue) as trigger:
        senders = [
            threading.Thread(target=trigger.post, args=(event(f"{n}.mp4"),))
            for n in range(MAX_AT_ONCE)
        ]
        for sender in senders:
            sender.start()
        for _ in senders:
            assert queue.waiting.acquire(timeout=60)
        refused = trigger.post(event("one-more.mp4"))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert httpx.get(trigger.url + "/healthz").status_code == 200
        queue.go_on.set()
        for sender in senders:
            sender.join(60)
        assert trigger.post(event("one-more.mp4")).status_code == 200
        trigger.settled()
        assert trigger.inbox.counts()["done"] == MAX_AT_ONCE + 1


def test_an_answer_is_recorded_once_the_disk_is_writable_again() -> None:
    """The function is not called a second time."""
    queue = FailingQueue()

    def reply(call: dict[str, Any]) -> Reply:
        queue.read_only = True
        return done()

    with running(reply, queue=queue) as trigger:
        trigger.post(event())
        wait_until(lambda: queue.refused_ends, "the answer, which cannot be recorded")
        assert trigger.inbox.counts()["running"] == 1
        queue.read_only = False
        trigger.settled()
        assert trigger.inbox.counts()["done"] == 1
        assert len(trigger.calls) == 1


def test_a_trigger_can_be_stopped_while_its_disk_is_read_only() -> None:
    queue = FailingQueue()

    def reply(call: dict[str, Any]) -> Reply:
        queue.read_only = True
        return done()

    with running(reply, queue=queue) as trigger:
        trigger.post(event())
        wait_until(lambda: trigger.calls, "the call")
    queue.read_only = False
    with running(lambda call: done(), queue=queue) as again:
        again.settled()
        assert again.inbox.counts()["done"] == 1
        assert len(again.calls) == 1


def test_health_metrics_and_status_page() -> None:
    with running(lambda call: refused(422, "not_a_video")) as trigger:
        trigger.post(event("<b>bold</b>.mp4"))
        trigger.settled()
        health = httpx.get(trigger.url + "/healthz")
        metrics = httpx.get(trigger.url + "/metrics").text
        page = httpx.get(trigger.url + "/", auth=("any", TOKEN)).text
    assert (health.status_code, health.json()["ok"]) == (200, True)
    assert health.json()["threads"].keys() == {"dispatcher", "reconciler", "housekeeping"}
    assert 'rollcall_dead_letters{code="not_a_video"} 1.0' in metrics
    assert 'rollcall_work{state="dead"} 1.0' in metrics
    assert 'rollcall_calls_total{code="not_a_video",outcome="dead"} 1.0' in metrics
    assert "&lt;b&gt;bold&lt;/b&gt;.mp4" in page
    assert "says not_a_video" in page
    assert "1 video failed for good: 1 not_a_video." in page
    assert TOKEN not in page + metrics


@pytest.mark.parametrize("token", ["", "short", "x" * 15])
def test_the_trigger_does_not_start_with_a_token_that_can_be_guessed(token: str) -> None:
    with (
        pytest.raises(SettingsError, match="openssl rand -hex 16"),
        running(lambda call: done(), TRIGGER_TOKEN=token),
    ):
        pass


BROWSERS = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("says", BROWSERS, ids=str)
def test_a_web_page_cannot_use_a_login_that_the_browser_remembers(says: dict[str, str]) -> None:
    login = "Basic " + base64.b64encode(f"any:{TOKEN}".encode()).decode()
    direct = json.dumps({"bucket": IN, "key": "a.mp4"}).encode()
    with running(lambda call: done()) as trigger:
        answer = trigger.post(direct, Authorization=login, **says)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "from_a_page")
        assert sum(trigger.inbox.counts().values()) == 0
        assert trigger.post(direct, Authorization=login).json()["queued"] == 1
        assert trigger.post(direct, **{"X-Trigger-Token": TOKEN}, **says).status_code == 200


def test_pages_forbid_frames_and_scripts() -> None:
    with running(lambda call: done()) as trigger:
        pages = [httpx.get(trigger.url + "/", auth=("any", TOKEN)) for _ in range(2)]
        others = [httpx.get(trigger.url + path) for path in ("/", "/healthz", "/metrics", "/x")]
    policies = [page.headers["Content-Security-Policy"] for page in pages]
    for page, policy in zip(pages, policies, strict=True):
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        (nonce,) = re.findall("style-src 'nonce-([^']+)'", policy)
        assert f'<style nonce="{nonce}">' in page.text
        assert "<script" not in page.text
        assert " style=" not in page.text
    assert len(set(policies)) == 2
    for answer in (*pages, *others):
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_foreign_statuses_cannot_create_many_time_series() -> None:
    """The queue stores the exact status, but the metrics only have its class."""
    statuses = [400, 404, 418, 451, 499, 500, 502, 555, 599, 302, 204, 699, 999]
    left = iter(statuses)
    with running(lambda call: (next(left), {}, b""), MAX_ATTEMPTS="1") as trigger:
        for number in range(len(statuses)):
            trigger.post(event(f"{number}.mp4"))
        trigger.settled()
        dead = {work.code for work in trigger.inbox.latest(50, "dead")}
        metrics = httpx.get(trigger.url + "/metrics").text
    assert {"http_418", "http_599"} <= dead
    codes = set(re.findall(r'rollcall_calls_total\{code="([^"]+)"', metrics))
    assert codes <= {"http_2xx", "http_3xx", "http_4xx", "http_5xx", "other", "no_answer"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    need(subprocess.run(mount, capture_output=True).returncode == 0, "no right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_with_a_full_disk_no_event_is_acknowledged_and_then_lost(small_disk: Path) -> None:
    with (
        closing(SqlQueue(open_file(small_disk / "inbox.sqlite3"))) as queue,
        running(lambda call: done(), queue=queue, MAX_INFLIGHT="1") as trigger,
    ):
        assert trigger.post(event("before.mp4")).status_code == 200
        trigger.settled()
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(1 << 20))
        answers = [trigger.post(event(f"{'x' * 900}{n}.mp4")) for n in range(40)]
        full = [answer for answer in answers if answer.status_code != 200]
        assert full
        assert {answer.status_code for answer in full} == {503}
        assert full[0].headers["Retry-After"]
        taken = sum(answer.status_code == 200 for answer in answers) + 1
        filler.unlink()
        assert trigger.post(event("after.mp4")).status_code == 200
        trigger.settled()
        counts = trigger.inbox.counts()
        assert sum(counts.values()) == taken + 1


def test_events_are_not_acknowledged_while_the_disk_is_read_only() -> None:
    queue = FailingQueue()
    with running(lambda call: done(), queue=queue) as trigger:
        queue.read_only = True
        assert trigger.post(event()).status_code == 503
        queue.read_only = False
        assert trigger.inbox.counts()["queued"] == 0
        assert not trigger.calls


def test_the_inbox_cannot_be_opened_on_a_read_only_disk(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(InboxUnavailable, match="check space and permissions"):
        SqlQueue(open_file(small_disk / "inbox.sqlite3"))
