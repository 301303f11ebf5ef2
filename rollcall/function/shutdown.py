"""Shutdown of the function's process on SIGTERM, without losing a call."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from types import FrameType

from rollcall.function.function_service import FunctionService

log = logging.getLogger(__name__)

DRAIN_S = 300.0
"""As long as a call may take; Kubernetes' own grace period ends it earlier when that is shorter."""

LINGER_S = 10.0
"""How long the process answers 503 after its last call. Longer than the watchdog's
`healthcheck_interval`, in which the watchdog still passes on new calls."""


def drain_on_sigterm(service: FunctionService) -> None:
    """From SIGTERM on, answers new calls 503; ends the process when the calls in flight are done.

    Where a server handles SIGTERM itself (gunicorn), its handler runs after the last call.
    Otherwise (waitress in OpenFaaS' template) the process goes on answering 503 for LINGER_S: the
    watchdog ends as soon as this process does, which would cut off answers that it is still
    sending. Then the process ends with the exit code of SIGTERM: after an exit code of 0 the
    watchdog would stay and answer 500 to everything.
    """
    before = signal.getsignal(signal.SIGTERM)
    started = threading.Event()

    def finish(number: int, frame: FrameType | None) -> None:
        service.drain(DRAIN_S)
        if callable(before):
            before(number, frame)
        else:
            time.sleep(LINGER_S)
            os._exit(128 + number)

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        if started.is_set():
            return
        started.set()
        log.info("SIGTERM: finishing the calls in flight; new ones are answered 503")
        threading.Thread(target=finish, args=(number, frame), name="drain").start()

    signal.signal(signal.SIGTERM, on_sigterm)
