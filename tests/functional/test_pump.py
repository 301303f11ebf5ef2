"""What a pump and its leases do between polls, on a real queue over HTTP."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from support.queues import Queues
from support.waiting import wait_until

from rollcall.core.retry import Verdict
from rollcall.stores.boto import sqs_client
from rollcall.stores.sqs import Message, SqsQueue
from rollcall.worker.counters import Counters
from rollcall.worker.dead_letters import DeadLetters
from rollcall.worker.leases import Leases
from rollcall.worker.pump import Pump
from rollcall.worker.result_files import ResultFiles


@pytest.fixture
def queues(moto_url: str, tmp_path: Path) -> Queues:
    return Queues(moto_url, tmp_path)


def test_a_stop_takes_nothing_that_it_would_only_give_back(queues: Queues) -> None:
    """Its poller waits for the one slot; the second message stays as if never delivered."""
    begun, go_on = threading.Event(), threading.Event()

    def handle(message: Message) -> Verdict:
        begun.set()
        go_on.wait(60)
        return Verdict("done", "done")

    ResultFiles(queues.folder)  # makes the folder
    dead = DeadLetters(queues.dead, Counters(queues.folder))
    pump = Pump(queues.input, handle, dead, slots=1, max_attempts=3, visibility_s=60)
    queues.input.send("first", {})
    pump.start()
    assert begun.wait(60)
    queues.input.send("second", {})
    pump.no_more()
    go_on.set()
    pump.join()
    (left,) = queues.input.receive(10, 5, 60)
    assert (left.body, left.deliveries) == ("second", 1)


class OneSlow(SqsQueue):
    """Extensions of the body `slow` get no answer until the end of the test."""

    def __init__(self, queues: Queues) -> None:
        super().__init__(sqs_client(queues.settings), queues.input.url)
        self.waiting, self.go_on = threading.Event(), threading.Event()
        self.extended: list[str] = []

    def change_visibility(self, message: Message, seconds: int) -> None:
        if message.body == "slow":
            self.waiting.set()
            self.go_on.wait(60)
        super().change_visibility(message, seconds)
        self.extended.append(message.body)


def test_one_slow_extension_holds_up_no_other_message(queues: Queues) -> None:
    for body in ("slow", "quick"):
        queues.input.send(body, {})
    queue = OneSlow(queues)
    slow, quick = sorted(queue.receive(10, 5, 60), key=lambda each: each.body, reverse=True)
    leases = Leases(queue, 1)
    leases.start()
    ended = threading.Event()

    def work_on_another() -> None:
        with leases.held(quick):
            wait_until(lambda: queue.extended.count("quick") >= 2, "its extensions")
        ended.set()

    with leases.held(slow):
        assert queue.waiting.wait(60)
        other = threading.Thread(target=work_on_another)
        other.start()
        try:
            wait_until(ended.is_set, "the end of the other message's work", 20)
            assert "slow" not in queue.extended
        finally:
            queue.go_on.set()
            other.join(60)
    leases.stop()
    assert "slow" in queue.extended
