"""A consumer of an SQS queue, and its leases, over HTTP."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.queues import Queues
from support.waiting import wait_until

from rollcall.core.retry import AttemptResult, RetryPolicy
from rollcall.queues.consumer import Consumer
from rollcall.stores.boto import sqs_client
from rollcall.stores.sqs import Message, SqsQueue
from rollcall.worker.counters import Counters
from rollcall.worker.dead_letters import DeadLetters
from rollcall.worker.leases import Leases
from rollcall.worker.queue_source import QUEUE_WAITS, QueueSource
from rollcall.worker.result_files import ResultFiles


@pytest.fixture
def queues(moto_url: str, tmp_path: Path) -> Queues:
    return Queues(moto_url, tmp_path)


def test_no_message_is_received_after_a_stop(queues: Queues) -> None:
    """The consumer waits for its only slot when it is stopped. Then the second message stays."""
    begun, go_on = threading.Event(), threading.Event()

    def handle(message: Message) -> AttemptResult:
        begun.set()
        go_on.wait(60)
        return AttemptResult("done", "done")

    ResultFiles(queues.folder)  # creates the folder
    dead = DeadLetters(queues.dead, Counters(queues.folder))
    source = QueueSource(queues.input, dead, visibility_s=60)
    consumer = Consumer(source, handle, RetryPolicy(), slots=1, waits=QUEUE_WAITS)
    queues.input.send("first", {})
    source.start()
    consumer.start()
    assert begun.wait(60)
    queues.input.send("second", {})
    consumer.halt()
    go_on.set()
    consumer.stop()
    source.close()
    (left,) = queues.input.receive(10, 5, 60)
    assert (left.body, left.deliveries) == ("second", 1)


class OneSlow(SqsQueue):
    """A queue that does not answer extensions of the message `slow` until `go_on` is set."""

    def __init__(self, queues: Queues) -> None:
        super().__init__(sqs_client(queues.settings), queues.input.url)
        self.waiting, self.go_on = threading.Event(), threading.Event()
        self.extended: list[str] = []

    def change_visibility(self, message: Message, seconds: int) -> None:
        if message.body == "slow":
            self.waiting.set()
            self.go_on.wait(300)
        super().change_visibility(message, seconds)
        self.extended.append(message.body)


def test_one_slow_extension_does_not_delay_other_messages(queues: Queues) -> None:
    for body in ("slow", "quick"):
        queues.input.send(body, {})
    queue = OneSlow(queues)
    slow, quick = sorted(queue.receive(10, 5, 60), key=lambda each: each.body, reverse=True)
    leases = Leases(queue, 1)
    leases.start()
    ended = threading.Event()

    def work_on_another() -> None:
        with leases.held(quick):
            wait_until(lambda: queue.extended.count("quick") >= 2, "two extensions of `quick`")
        ended.set()

    with leases.held(slow):
        assert queue.waiting.wait(60)
        other = threading.Thread(target=work_on_another)
        other.start()
        try:
            wait_until(ended.is_set, "the end of the other message's work")
            assert "slow" not in queue.extended
        finally:
            queue.go_on.set()
            other.join(60)
    leases.stop()
    assert "slow" in queue.extended
