"""A receiver of webhook messages that checks signatures with the library of Standard Webhooks."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from standardwebhooks import Webhook

from support.servers import Reply, serve_function

SECRET = "whsec_" + base64.b64encode(b"secret of the test's receiver").decode()

OK: Reply = (204, {}, b"")

Answer = Callable[[int], Reply | None]
"""The answer to a delivery, by its number from 0; None closes the connection."""


class Delivery(NamedTuple):
    headers: dict[str, str]
    event: dict[str, Any]

    @property
    def message_id(self) -> str:
        return self.headers["webhook-id"]


class WebhookReceiver:
    """The deliveries that arrived, oldest first, and the answers to them."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._checker = Webhook(SECRET)
        self.deliveries: list[Delivery] = []
        self.refused: list[Exception] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        return [delivery.event for delivery in self.deliveries]

    def receive(self, call: dict[str, Any]) -> Reply | None:
        headers = {name.lower(): value for name, value in call["headers"].items()}
        try:
            event = self._checker.verify(call["raw"], headers)
        except Exception as error:
            self.refused.append(error)
            return 401, {}, b""
        with self._lock:
            number = len(self.deliveries)
            self.deliveries.append(Delivery(headers, event))
        return self._answer(number)


@contextmanager
def receiving(answer: Answer = lambda number: OK) -> Iterator[tuple[WebhookReceiver, str]]:
    """Run a receiver, and yield it with its URL. No delivery may have a wrong signature."""
    receiver = WebhookReceiver(answer)
    with serve_function(receiver.receive) as url:
        yield receiver, url + "/hooks/results?from=rollcall"
    assert receiver.refused == []
