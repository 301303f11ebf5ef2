"""SIGTERM lets the call in flight finish."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType

from rollcall.function.service import FunctionService

log = logging.getLogger(__name__)

DRAIN_S = 300.0
"""As long as a call may take; Kubernetes' own grace period ends it earlier when that is shorter."""


def drain_on_sigterm(service: FunctionService) -> None:
    """Drains the service, then goes on with what SIGTERM meant before.

    Without a handler before ours the process ends as killed by SIGTERM: with exit code 0 the
    watchdog would think that all is well, and answer 500 for ever.
    """
    before = signal.getsignal(signal.SIGTERM)

    def finish(number: int, frame: FrameType | None) -> None:
        service.drain(DRAIN_S)
        if callable(before):
            before(number, frame)
        else:
            os._exit(128 + number)

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        log.info("SIGTERM: finishing the call in flight")
        threading.Thread(target=finish, args=(number, frame), name="drain").start()

    signal.signal(signal.SIGTERM, on_sigterm)
