"""Messages about results, through the whole trigger: events in, calls, messages out."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from support.servers import Reply, refused, serve_function, serve_wsgi
from support.settings import TOKEN, embedded_settings
from support.waiting import wait_until
from support.webhook_receiver import OK, SECRET, receiving

from rollcall.core.retry import RetryPolicy
from rollcall.database.database import Database
from rollcall.database.tables import metadata
from rollcall.queues.queue_rules import MAX_FOUND
from rollcall.queues.sql_listings import SqlListings
from rollcall.queues.sql_queue import SqlQueue
from rollcall.stores.memory import MemoryStore
from rollcall.trigger.caller import FunctionCaller
from rollcall.trigger.trigger_service import Trigger
from tests.functional.test_trigger import QUICK_WAITS, event
from tests.unit.test_result_notices import ADA, ANSWER


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/inbox.sqlite3"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(url)) as opened:
        metadata.create_all(opened.engine)
        yield opened


def answered(status: str, **fields: Any) -> Reply:
    return 200, {}, json.dumps({**ANSWER, "status": status, **fields}).encode()


@contextmanager
def trigger_of(
    database: Database,
    webhook_url: str,
    reply: Callable[[dict[str, Any]], Reply | None],
    store: MemoryStore | None = None,
) -> Iterator[Callable[[str], None]]:
    """Run a trigger, and yield a function that sends it the event of a key."""
    with serve_function(reply) as gateway:
        settings = embedded_settings(
            "http://127.0.0.1:1",
            OPENFAAS_GATEWAY=gateway,
            MAX_ATTEMPTS="2",
            RECONCILE_S="1",
            MAX_INFLIGHT="4",
            REPORT_BUCKET="reports",
            RESULT_WEBHOOK_URL=webhook_url,
            RESULT_WEBHOOK_SECRET=SECRET,
        )
        trigger = Trigger(
            settings,
            SqlQueue(database),
            SqlListings(database),
            store or MemoryStore(),
            FunctionCaller(settings.openfaas_gateway, "face-recognition", 30, 4),
            policy=replace(RetryPolicy.from_settings(settings), first_delay_s=0.01),
            waits=QUICK_WAITS,
        )
        trigger.start()
        with serve_wsgi(trigger.app, trigger.access.is_known) as url:
            yield lambda key: check(httpx.post(url + "/events", content=event(key, TOKEN)))
        trigger.stop()


def check(answer: httpx.Response) -> None:
    assert answer.json()["queued"] == 1


def ended(database: Database, count: int) -> Callable[[], bool]:
    def all_ended() -> bool:
        counts = SqlQueue(database).counts()
        return counts["done"] + counts["dead"] == count

    return all_ended


def stored_messages(database: Database) -> int:
    with database.reading() as connection:
        count: int = connection.execute(text("SELECT count(*) FROM notice")).scalar_one()
        return count


BY_KEY = {
    "ada.mp4": answered("recognised"),
    "stranger.mp4": answered("unknown", people=[{**ADA, "name": "unknown"}]),
    "cat.mp4": answered("no_face", people=[]),
    "broken.mp4": refused(422, "not_a_video"),
    "down.mp4": refused(503, "store_unavailable"),
    "upload.mp4": (200, {}, b'{"status": "ignored", "reason": "not complete"}'),
}


def test_each_finished_or_failed_video_leads_to_one_message(database: Database) -> None:
    with (
        receiving() as (receiver, webhook_url),
        trigger_of(database, webhook_url, lambda call: BY_KEY[call["key"]]) as send,
    ):
        for key in BY_KEY:
            send(key)
        wait_until(ended(database, len(BY_KEY)), "all calls")
        wait_until(lambda: not stored_messages(database), "all messages")
    found = {event["subject"]: (event["type"], event["data"]) for event in receiver.events}
    assert len(receiver.events) == 5
    assert {key: data["status"] for key, (_, data) in found.items()} == {
        "ada.mp4": "recognised",
        "stranger.mp4": "unknown",
        "cat.mp4": "no_face",
        "broken.mp4": "failed",
        "down.mp4": "failed",
    }
    assert found["ada.mp4"][0] == "rollcall.video.finished"
    assert found["ada.mp4"][1]["people"] == [ADA]
    assert found["ada.mp4"][1]["report"] == {"bucket": "reports", "key": "ada.mp4.json"}
    assert found["broken.mp4"][0] == "rollcall.video.failed"
    assert found["broken.mp4"][1]["error"]["code"] == "not_a_video"
    assert found["down.mp4"][1]["error"]["message"].startswith("after 2 attempts")


def test_a_video_that_never_gets_a_result_has_failed(database: Database) -> None:
    """Function and trigger have different output buckets. The reconciler gives the video up."""
    store = MemoryStore()
    store.write("input-bucket-video", "a.mp4", b"video", "video/mp4", {})
    with (
        receiving() as (receiver, webhook_url),
        trigger_of(database, webhook_url, lambda call: answered("recognised"), store),
    ):
        wait_until(lambda: len(receiver.events) == MAX_FOUND + 1, "the last message")
    # Two messages may be on their way at once, so the last one does not always arrive last.
    (data,) = (each["data"] for each in receiver.events if each["data"]["status"] == "failed")
    assert data["error"]["code"] == "no_result"
    assert "OUTPUT_BUCKET" in data["error"]["message"]


def test_without_a_url_nothing_is_sent_and_nothing_is_stored(database: Database) -> None:
    with trigger_of(database, "", lambda call: BY_KEY[call["key"]]) as send:
        for key in BY_KEY:
            send(key)
        wait_until(ended(database, len(BY_KEY)), "all calls")
        assert stored_messages(database) == 0


def test_a_replayed_video_leads_to_a_new_message(database: Database) -> None:
    replies = iter([refused(422, "not_a_video"), answered("recognised")])
    with (
        receiving() as (receiver, webhook_url),
        trigger_of(database, webhook_url, lambda call: next(replies)) as send,
    ):
        send("a.mp4")
        wait_until(lambda: len(receiver.events) == 1, "the first message")
        SqlQueue(database).replay()
        wait_until(lambda: len(receiver.events) == 2, "the second message")
    failed, finished = receiver.deliveries
    assert (failed.event["data"]["status"], finished.event["data"]["status"]) == (
        "failed",
        "recognised",
    )
    assert failed.message_id != finished.message_id


def test_a_slow_receiver_does_not_delay_recognition(database: Database) -> None:
    go_on = threading.Event()

    def answer(number: int) -> Reply:
        go_on.wait(60)
        return OK

    with (
        receiving(answer) as (receiver, webhook_url),
        trigger_of(database, webhook_url, lambda call: answered("recognised")) as send,
    ):
        for number in range(20):
            send(f"{number}.mp4")
        wait_until(ended(database, 20), "all calls")
        assert stored_messages(database) == 20
        go_on.set()
        wait_until(lambda: not stored_messages(database), "all messages")
    assert len({event["subject"] for event in receiver.events}) == 20


def test_several_triggers_share_the_messages(postgres_url: str) -> None:
    with ExitStack() as opened:
        receiver, webhook_url = opened.enter_context(receiving())
        senders = []
        for _ in range(3):
            database = opened.enter_context(closing(Database(postgres_url)))
            trigger = trigger_of(database, webhook_url, lambda call: answered("recognised"))
            senders.append(opened.enter_context(trigger))
        for number in range(30):
            senders[number % 3](f"{number}.mp4")
        wait_until(ended(database, 30), "all calls")
        wait_until(lambda: not stored_messages(database), "all messages")
    assert Counter(event["subject"] for event in receiver.events) == Counter(
        f"{number}.mp4" for number in range(30)
    )
