"""`openstack_handler.py`: flags -> settings -> start -> stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command, say
from rollcall.worker.dead_letters import replay
from rollcall.worker.queue_registration import register
from rollcall.worker.queues import Queues
from rollcall.worker.worker_service import Worker

log = logging.getLogger(__name__)


@click.command(cls=Command)
@click.option(
    "--register", "wanted", is_flag=True, help="Create buckets, queues and notification, and end."
)
@click.option("--replay", "again", is_flag=True, help="Put dead letters back, and end.")
@command_errors
def main(wanted: bool, again: bool) -> None:
    """Take events from a queue, call the Lambda for each video, and store results as files.

    Settings come from the environment and .env; the README lists them. SIGTERM ends it when the
    calls in flight have ended; a second one ends it at once.
    """
    chosen = settings()
    if again:
        queues = Queues(chosen)
        sources = {queue.name: queue for queue in (queues.input, queues.result)}
        say(f"{replay(queues.dead, sources)} dead letters put back")
        return
    if wanted:
        register(chosen)
        return
    Worker(chosen).run(stop_on_signals())


def stop_on_signals() -> threading.Event:
    """Set by the first SIGTERM or Ctrl-C; the second ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("finishing what is in hand; another signal ends it at once")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop
