"""`trigger_openfaas.py` with shorter waits: a tenth of all retry delays, and fast polling."""

from __future__ import annotations

import random
from typing import Any

from rollcall.cli import trigger_command
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.retry import AttemptResult, RetryPolicy
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.queues.consumer import ConsumerWaits
from rollcall.trigger import dispatcher
from rollcall.trigger.trigger_service import Trigger, build_trigger

QUICK_WAITS = ConsumerWaits(idle_s=0.05, after_busy_s=0.1)

LEASE_SLACK_S = 3.0
"""The work of a dead trigger waits for the time-out of a call and this time."""


class QuickPolicy(RetryPolicy):
    """The production policy with a tenth of its delays."""

    def delay_s(
        self, result: AttemptResult, attempts: int, calls: int, jitter: random.Random
    ) -> float:
        return super().delay_s(result, attempts, calls, jitter) / 10


def build_quick_trigger(
    settings: Settings, queue: WorkQueue, database: Database, **options: Any
) -> Trigger:
    policy = QuickPolicy.from_settings(settings)
    return build_trigger(settings, queue, database, policy=policy, waits=QUICK_WAITS, **options)


if __name__ == "__main__":
    dispatcher.LEASE_SLACK_S = LEASE_SLACK_S
    trigger_command.build_trigger = build_quick_trigger  # type: ignore[assignment]
    trigger_command.main()
