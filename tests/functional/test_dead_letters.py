"""Dead letters and their replay, with queues of a moto server over HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.queues import Queues

from rollcall.core.errors import StoreMisconfigured
from rollcall.core.result_messages import MAX_MESSAGE_BYTES
from rollcall.core.retry import AttemptResult
from rollcall.stores.boto import sqs_client
from rollcall.stores.sqs import Message, SqsQueue
from rollcall.worker.counters import Counters
from rollcall.worker.dead_letters import DeadLetters, replay
from rollcall.worker.result_files import ResultFiles

WHY = AttemptResult("dead", "bad_event", "it is not an event")


@pytest.fixture
def queues(moto_url: str, tmp_path: Path) -> Queues:
    return Queues(moto_url, tmp_path)


@pytest.fixture
def dead_letters(queues: Queues) -> DeadLetters:
    ResultFiles(queues.folder)  # creates the folder
    return DeadLetters(queues.dead, Counters(queues.folder))


def take(queue: SqsQueue, body: str, **attributes: str) -> Message:
    queue.send(body, attributes)
    (message,) = queue.receive(1, 5, 60)
    return message


def limit(queues: Queues, max_bytes: int) -> None:
    sqs_client(queues.settings).set_queue_attributes(
        QueueUrl=queues.dead.url, Attributes={"MaximumMessageSize": str(max_bytes)}
    )


# --- Burying


def test_a_body_that_is_too_long_is_shortened_and_not_replayed(
    queues: Queues, dead_letters: DeadLetters
) -> None:
    limit(queues, 256 << 10)
    body = "x" + "é" * (260 << 10)
    dead_letters.bury(take(queues.input, body), queues.input.name, WHY)
    (letter,) = queues.dead.receive(10, 5, 0)
    assert body.startswith(letter.body)
    assert MAX_MESSAGE_BYTES - 1 <= len(letter.body.encode()) <= MAX_MESSAGE_BYTES
    assert letter.attributes["shortened_from"] == str(len(body.encode()))
    assert replay(queues.dead, {queues.input.name: queues.input}) == 0


def test_a_short_body_that_the_queue_rejects_is_not_shortened(
    queues: Queues, dead_letters: DeadLetters
) -> None:
    limit(queues, 1024)
    with pytest.raises(StoreMisconfigured):
        dead_letters.bury(take(queues.input, "x" * 2000), queues.input.name, WHY)


def test_a_dead_letter_without_a_code_has_no_code_attribute(
    queues: Queues, dead_letters: DeadLetters
) -> None:
    dead_letters.bury(take(queues.input, "x"), queues.input.name, AttemptResult("dead", "", "why"))
    (letter,) = queues.dead.receive(10, 5, 0)
    assert letter.attributes.keys() == {"source", "reason", "sent_ms"}


def test_a_long_attribute_of_another_sender_is_cut(
    queues: Queues, dead_letters: DeadLetters
) -> None:
    message = take(queues.input, "x", replay="y" * 10_000)
    dead_letters.bury(message, queues.input.name, WHY)
    (letter,) = queues.dead.receive(10, 5, 0)
    assert sum(map(len, letter.attributes.values())) < 4096


# --- Replaying


class DiesAgain(SqsQueue):
    """A queue whose worker makes every message a dead letter again, as soon as it is sent."""

    def __init__(self, queues: Queues, dead_letters: DeadLetters) -> None:
        super().__init__(sqs_client(queues.settings), queues.input.url)
        self.bury = dead_letters.bury

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        message = take(super(), body, **attributes)  # type: ignore[arg-type]
        self.bury(message, self.name, WHY)
        self.delete(message)


@pytest.mark.parametrize("ahead_s", [-600, 0, 600])
def test_a_message_that_dies_again_is_replayed_once_even_if_clocks_differ(
    queues: Queues, dead_letters: DeadLetters, ahead_s: float
) -> None:
    source = DiesAgain(queues, dead_letters)
    for number in (1, 2):
        dead_letters.bury(take(queues.input, f"letter {number}"), source.name, WHY)
    sources = {source.name: source}
    assert replay(queues.dead, sources, lambda: time.time() + ahead_s) == 2


def test_a_message_of_an_earlier_replay_is_replayed_again(
    queues: Queues, dead_letters: DeadLetters
) -> None:
    source = DiesAgain(queues, dead_letters)
    dead_letters.bury(take(queues.input, "x", replay="an earlier one"), source.name, WHY)
    assert replay(queues.dead, {source.name: source}) == 1


def test_dead_letters_that_come_after_its_start_do_not_prolong_a_replay(
    queues: Queues, dead_letters: DeadLetters
) -> None:
    dead_letters.bury(take(queues.input, "x"), queues.input.name, WHY)
    sources = {queues.input.name: queues.input}
    assert replay(queues.dead, sources, lambda: time.time() - 3600) == 0


def test_one_empty_answer_does_not_end_a_replay(queues: Queues, dead_letters: DeadLetters) -> None:
    class EmptyAtFirst(SqsQueue):
        asked = 0

        def receive(self, *args: Any) -> list[Message]:
            self.asked += 1
            return [] if self.asked == 1 else super().receive(*args)

    dead_letters.bury(take(queues.input, "x"), queues.input.name, WHY)
    dead = EmptyAtFirst(sqs_client(queues.settings), queues.dead.url)
    assert replay(dead, {queues.input.name: queues.input}) == 1
