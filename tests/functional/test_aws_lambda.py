"""The function on Lambda: answers, temporary and permanent failures, and batches from SQS."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.home import IN, OUT, Home, make_home
from support.videos import paint_video

from rollcall.core.errors import StoreUnavailable, TransientError, UnexpectedError
from rollcall.core.result_messages import MAX_MESSAGE_BYTES, parse_result
from rollcall.function.aws_lambda import answer_event
from rollcall.function.function_service import FunctionService
from rollcall.stores.memory import MemoryQueue


@pytest.fixture
def red(tmp_path: Path) -> Path:
    return paint_video(tmp_path / "red.mp4", ["red"])


def ask(home: Home, event: Any) -> dict[str, Any]:
    return answer_event(FunctionService(lambda: home.pipeline), event)


def direct(key: str) -> dict[str, Any]:
    return {"bucket": IN, "key": key}


def s3(*keys: str) -> dict[str, Any]:
    record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
    return {
        "Records": [{**record, "s3": {"bucket": {"name": IN}, "object": {"key": k}}} for k in keys]
    }


def sns(event: dict[str, Any]) -> dict[str, Any]:
    """An event from SNS. Over HTTP and SQS, its names have other capitals."""
    message = {"Type": "Notification", "MessageId": "m", "Message": json.dumps(event)}
    return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": message}]}


def sqs(**bodies: Any) -> dict[str, Any]:
    records = [
        {
            "messageId": name,
            "eventSource": "aws:sqs",
            "body": b if type(b) is str else json.dumps(b),
        }
        for name, b in bodies.items()
    ]
    return {"Records": records}


def bridged(key: str) -> dict[str, Any]:
    """An event from EventBridge. Lambda functions and queues get the same one."""
    detail = {"bucket": {"name": IN}, "object": {"key": key}, "reason": "PutObject"}
    return {"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": detail}


def unreachable(home: Home, *keys: str) -> None:
    """Make the store fail for these keys."""
    head = home.store.head

    def down(bucket: str, key: str) -> Any:
        if key in keys:
            raise StoreUnavailable("no answer", retry_after_s=7)
        return head(bucket, key)

    home.store.head = down  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "event",
    [direct("a.mp4"), s3("a.mp4"), sns(s3("a.mp4")), bridged("a.mp4"), sns(bridged("a.mp4"))],
    ids=["direct", "s3", "sns", "eventbridge", "eventbridge in sns"],
)
def test_an_event_with_one_video_is_answered_with_its_result(
    home: Home, red: Path, event: dict[str, Any]
) -> None:
    home.put("a.mp4", red)
    answer = ask(home, event)
    assert (answer["statusCode"], answer["status"]) == (200, "recognised")
    assert answer["output"] == {"bucket": OUT, "key": "a.csv"}
    assert home.result("a.csv").splitlines()[1].startswith("alice,physics,junior")
    json.dumps(answer)


def test_several_records_give_a_list_of_answers(home: Home, red: Path) -> None:
    home.put("a.mp4", red)
    answer = ask(home, s3("a.mp4", "gone.mp4"))
    assert answer["statusCode"] == 404
    assert ["error" in each for each in answer["answers"]] == [False, True]


def test_an_event_that_starts_no_work_is_answered_as_ignored(home: Home) -> None:
    answer = ask(home, {"Event": "s3:TestEvent"})
    assert ask(home, bridged("a.mp4") | {"detail-type": "Object Deleted"}) == answer
    assert (answer["statusCode"], answer["status"]) == (200, "ignored")


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        (direct("gone.mp4"), 404, "gone"),
        (direct("text.mp4"), 422, "not_a_video"),
        ({"bucket": "other-bucket", "key": "a.mp4"}, 400, "bucket_not_allowed"),
        ({"what": "is this"}, 400, "bad_event"),
        (None, 400, "bad_event"),
        (["no", "object"], 400, "bad_event"),
        ({"Records": []}, 400, "bad_event"),
    ],
)
def test_a_permanent_failure_is_an_answer(
    home: Home, caplog: pytest.LogCaptureFixture, event: Any, status: int, code: str
) -> None:
    home.put("text.mp4", b"no video")
    answer = ask(home, event)
    assert (answer["statusCode"], answer["error"]["code"]) == (status, code)
    assert code in caplog.text


@pytest.mark.parametrize(
    "event", [direct("a.mp4"), s3("a.mp4"), sns(s3("a.mp4")), bridged("a.mp4")]
)
def test_a_temporary_failure_fails_the_invocation(home: Home, event: Any) -> None:
    unreachable(home, "a.mp4")
    with pytest.raises(TransientError, match="store_unavailable: no answer") as caught:
        ask(home, event)
    assert caught.value.retry_after_s == 7


def test_an_unexpected_error_fails_the_invocation_with_unexpected_error(home: Home) -> None:
    def broken(bucket: str, key: str) -> Any:
        raise ZeroDivisionError

    home.store.head = broken  # type: ignore[method-assign]
    with pytest.raises(UnexpectedError, match="internal: unexpected error"):
        ask(home, direct("a.mp4"))


def test_one_temporary_failure_among_several_records_fails_the_invocation(
    home: Home, red: Path
) -> None:
    home.put("a.mp4", red)
    unreachable(home, "b.mp4")
    with pytest.raises(TransientError):
        ask(home, s3("a.mp4", "b.mp4", "gone.mp4"))
    assert home.result("a.csv")


def test_only_the_failing_message_of_a_batch_is_repeated(
    home: Home, red: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.put("a.mp4", red)
    home.put("c.mp4", red)
    unreachable(home, "b.mp4")
    batch = sqs(
        first=s3("a.mp4"), second=s3("b.mp4"), third=sns(s3("c.mp4"))["Records"][0]["Sns"],
        gone=s3("gone.mp4"), garbage="no json", test={"Event": "s3:TestEvent"},
    )  # fmt: skip
    with caplog.at_level("INFO"):
        assert ask(home, batch) == {"batchItemFailures": [{"itemIdentifier": "second"}]}
    assert home.result("a.csv") == home.result("c.csv")
    assert "messages: 3 done, 2 failed permanently, 1 repeated" in caplog.text
    assert "message gone failed permanently: gone: " in caplog.text
    assert "message garbage failed permanently: bad_event: " in caplog.text


def test_a_message_with_one_failing_record_is_repeated_as_a_whole(home: Home, red: Path) -> None:
    home.put("a.mp4", red)
    unreachable(home, "b.mp4")
    answer = ask(home, sqs(only=s3("gone.mp4", "a.mp4", "b.mp4")))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "only"}]}


def test_a_good_batch_has_no_failures(home: Home, red: Path) -> None:
    home.put("a.mp4", red)
    event = {"specversion": "1.0", "type": "x.ObjectCreated:Put", "data": s3("a.mp4")}
    batch = sqs(one=s3("a.mp4"), two=bridged("a.mp4"), three=event)
    batch["Records"][0]["attributes"] = 7
    assert ask(home, batch) == {"batchItemFailures": []}
    assert home.result("a.csv")


class Results:
    """A function with a result queue, to which it sends a message about each video."""

    def __init__(self, **values: str) -> None:
        self.home = make_home(**values)
        self.queue = MemoryQueue()
        self.home.pipeline = replace(self.home.pipeline, results=self.queue)

    def only(self) -> dict[str, Any]:
        (body,) = self.queue.sent
        document: dict[str, Any] = json.loads(body)
        return document


def test_a_result_is_sent_with_its_csv(red: Path) -> None:
    sender = Results()
    etag = sender.home.put("a.mp4", red)
    answer = ask(sender.home, direct("a.mp4"))
    assert sender.only() == {
        "work_id": answer["work_id"],
        "video": {"bucket": IN, "key": "a.mp4", "etag": etag},
        "output": {"bucket": OUT, "key": "a.csv"},
        "status": "recognised",
        "csv": sender.home.result("a.csv"),
        "error": None,
    }
    assert parse_result(sender.queue.sent[0].encode()).csv == sender.home.result("a.csv")


def test_a_result_message_is_sent_for_a_refused_video_too() -> None:
    sender = Results()
    sender.home.put("text.mp4", b"no video")
    answer = ask(sender.home, direct("text.mp4"))
    message = sender.only()
    assert (message["status"], message["csv"], message["output"]) == ("failed", None, None)
    assert message["error"] == {
        "code": "not_a_video",
        "message": answer["error"]["message"],
    }
    assert parse_result(sender.queue.sent[0].encode()).error_code == "not_a_video"


def test_a_csv_too_long_for_a_message_is_left_in_the_bucket(
    red: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Results()
    sender.home.put("a.mp4", red)
    long = b"name\r\n" + b"x" * MAX_MESSAGE_BYTES
    monkeypatch.setattr("rollcall.pipeline.render_csv", lambda people, students: long)
    ask(sender.home, direct("a.mp4"))
    assert sender.only()["csv"] is None
    assert sender.only()["output"] == {"bucket": OUT, "key": "a.csv"}
    assert len(sender.queue.sent[0]) < 1000
    assert sender.home.result("a.csv").encode() == long


def test_no_result_message_is_sent_after_a_temporary_failure(red: Path) -> None:
    sender = Results()
    unreachable(sender.home, "a.mp4")
    with pytest.raises(TransientError):
        ask(sender.home, direct("a.mp4"))
    assert sender.queue.sent == []


@pytest.mark.parametrize("key", ["a.mp4", "text.mp4"])
def test_a_result_message_that_cannot_be_sent_fails_the_invocation(key: str, red: Path) -> None:
    sender = Results()
    sender.home.put("a.mp4", red)
    sender.home.put("text.mp4", b"no video")

    def down(body: str, attributes: Any) -> None:
        raise StoreUnavailable("the queue does not answer")

    sender.queue.send = down  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="the queue does not answer"):
        ask(sender.home, direct(key))
