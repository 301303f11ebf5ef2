"""Dead letters and their replay, on real queues over HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.queues import Queues

from rollcall.core.errors import StoreMisconfigured
from rollcall.core.result_messages import MAX_MESSAGE_BYTES
from rollcall.core.retry import Verdict
from rollcall.stores.boto import sqs_client
from rollcall.stores.sqs import Message, SqsQueue
from rollcall.worker.counters import Counters
from rollcall.worker.dead_letters import DeadLetters, replay
from rollcall.worker.result_files import ResultFiles

WHY = Verdict("dead", "bad_event", "it is none")


@pytest.fixture
def queues(moto_url: str, tmp_path: Path) -> Queues:
    return Queues(moto_url, tmp_path)


@pytest.fixture
def dead_letters(queues: Queues) -> DeadLetters:
    ResultFiles(queues.folder)  # makes the folder
    return DeadLetters(queues.dead, Counters(queues.folder))


def take(queue: SqsQueue, body: str, **attributes: str) -> Message:
    queue.send(body, attributes)
    (message,) = queue.receive(1, 5, 60)
    return message


def limit(queues: Queues, max_bytes: int) -> None:
    sqs_client(queues.settings).set_queue_attributes(
        QueueUrl=queues.dead.url, Attributes={"MaximumMessageSize": str(max_bytes)}
    )


# --- what is buried


def test_what_is_too_long_is_shortened_and_stays(queues: Queues, dead_letters: DeadLetters) -> None:
    limit(queues, 256 << 10)
    body = "x" + "é" * (260 << 10)
    dead_letters.bury(take(queues.input, body), queues.input.name, WHY)
    (letter,) = queues.dead.receive(10, 5, 0)
    assert body.startswith(letter.body)
    assert MAX_MESSAGE_BYTES - 1 <= len(letter.body.encode()) <= MAX_MESSAGE_BYTES
    assert letter.attributes["shortened_from"] == str(len(body.encode()))
    assert replay(queues.dead, {queues.input.name: queues.input}) == 0


def test_what_is_refused_for_something_else_is_not_shortened(
    queues: Queues, dead_letters: DeadLetters
) -> None:
    limit(queues, 1024)
    with pytest.raises(StoreMisconfigured):
        dead_letters.bury(take(queues.input, "x" * 2000), queues.input.name, WHY)


def test_a_verdict_without_a_code_is_buried_too(queues: Queues, dead_letters: DeadLetters) -> None:
    dead_letters.bury(take(queues.input, "x"), queues.input.name, Verdict("dead", "", "why"))
    (letter,) = queues.dead.receive(10, 5, 0)
    assert letter.attributes.keys() == {"source", "reason", "sent_ms"}


def test_a_long_attribute_of_somebody_else_is_no_hindrance(
    queues: Queues, dead_letters: DeadLetters
) -> None:
    message = take(queues.input, "x", replay="y" * 10_000)
    dead_letters.bury(message, queues.input.name, WHY)
    (letter,) = queues.dead.receive(10, 5, 0)
    assert sum(map(len, letter.attributes.values())) < 4096


# --- what is put back


class DiesAgain(SqsQueue):
    """A worker takes what is sent at once, and buries it again."""

    def __init__(self, queues: Queues, dead_letters: DeadLetters) -> None:
        super().__init__(sqs_client(queues.settings), queues.input.url)
        self.bury = dead_letters.bury

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        message = take(super(), body, **attributes)  # type: ignore[arg-type]
        self.bury(message, self.name, WHY)
        self.delete(message)


def our_clock(monkeypatch: pytest.MonkeyPatch, ahead_s: float) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + ahead_s)
    monkeypatch.setattr("rollcall.worker.dead_letters.time", clock)


@pytest.mark.parametrize("ahead_s", [-600, 0, 600])
def test_what_dies_again_is_put_back_once_whatever_our_clock_says(
    queues: Queues, dead_letters: DeadLetters, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    our_clock(monkeypatch, ahead_s)
    source = DiesAgain(queues, dead_letters)
    for number in (1, 2):
        dead_letters.bury(take(queues.input, f"letter {number}"), source.name, WHY)
    assert replay(queues.dead, {source.name: source}) == 2


def test_the_next_replay_puts_it_back_again(queues: Queues, dead_letters: DeadLetters) -> None:
    source = DiesAgain(queues, dead_letters)
    dead_letters.bury(take(queues.input, "x", replay="an earlier one"), source.name, WHY)
    assert replay(queues.dead, {source.name: source}) == 1


def test_what_comes_long_after_its_begin_does_not_keep_it_going(
    queues: Queues, dead_letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    our_clock(monkeypatch, -3600)
    dead_letters.bury(take(queues.input, "x"), queues.input.name, WHY)
    assert replay(queues.dead, {queues.input.name: queues.input}) == 0


def test_an_empty_answer_is_not_the_end(queues: Queues, dead_letters: DeadLetters) -> None:
    class EmptyAtFirst(SqsQueue):
        asked = 0

        def receive(self, *args: Any) -> list[Message]:
            self.asked += 1
            return [] if self.asked == 1 else super().receive(*args)

    dead_letters.bury(take(queues.input, "x"), queues.input.name, WHY)
    dead = EmptyAtFirst(sqs_client(queues.settings), queues.dead.url)
    assert replay(dead, {queues.input.name: queues.input}) == 1
