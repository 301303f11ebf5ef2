"""The three queues of the worker."""

from __future__ import annotations

from typing import Any

from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings
from rollcall.stores.boto import sqs_client
from rollcall.stores.sqs import SqsQueue

NAMES = ("INPUT_QUEUE_URL", "RESULT_QUEUE_URL", "DEAD_LETTER_QUEUE_URL")


class Queues:
    """The queues whose URLs the settings have. Raises SettingsError if a URL is missing."""

    def __init__(self, settings: Settings) -> None:
        self.client: Any = sqs_client(settings)
        self.input, self.result, self.dead = (self._queue(settings, name) for name in NAMES)

    def _queue(self, settings: Settings, name: str) -> SqsQueue:
        url = getattr(settings, name.lower())
        if not url:
            raise SettingsError(f"{name} is not set; the worker needs all three queues")
        return SqsQueue(self.client, url)
