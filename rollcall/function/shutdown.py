"""Ends the function's process on SIGTERM without losing a call."""

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
"""Longest wait for the calls in flight; a call may take this long. Kubernetes kills the process
earlier if the pod's grace period is shorter."""

LINGER_S = 10.0
"""How long the process keeps answering 503 after its last call. The watchdog forwards new calls
until its next health check, so this has to be longer than its `healthcheck_interval`."""


def drain_on_sigterm(service: FunctionService) -> None:
    """Install a handler of SIGTERM: new calls are answered 503, and those in flight are finished.

    After that, the handler that was installed before runs, if there is one (gunicorn has one).

    Otherwise (waitress, in the template of OpenFaaS) the process answers 503 for another LINGER_S
    and then exits, because the watchdog exits with this process, and would cut off answers that it
    is still sending. The exit code is that of SIGTERM: after exit code 0 the watchdog would keep
    running, and answer every call with 500.
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
