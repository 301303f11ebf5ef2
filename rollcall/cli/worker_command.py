"""The command `openstack_handler.py`: parses flags, loads settings, runs the worker."""

from __future__ import annotations

import logging
import os
import signal
import threading
from types import FrameType

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command, say
from rollcall.worker.dead_letters import replay as replay_dead_letters
from rollcall.worker.queue_registration import register as register_queues
from rollcall.worker.queues import Queues
from rollcall.worker.worker_service import Worker

log = logging.getLogger(__name__)


@click.command(cls=Command)
@click.option(
    "--register", is_flag=True, help="Create buckets, queues and the notification, then exit."
)
@click.option("--replay", is_flag=True, help="Send dead letters back to their queues, then exit.")
@command_errors
def main(register: bool, replay: bool) -> None:
    """Receive events from a queue, call the Lambda for each video, and write results to files.

    Settings come from the environment and .env; the README lists them. On SIGTERM, the worker
    finishes the calls in flight and exits; a second SIGTERM stops it at once.
    """
    chosen = settings()
    if replay:
        queues = Queues(chosen)
        sources = {queue.name: queue for queue in (queues.input, queues.result)}
        count = replay_dead_letters(queues.dead, sources)
        say(f"put back {count} dead letter{'' if count == 1 else 's'}")
    elif register:
        register_queues(chosen)
    else:
        Worker(chosen).run(stop_on_signals())


def stop_on_signals() -> threading.Event:
    """Return an event that the first SIGTERM or Ctrl-C sets; a second one ends the process."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("finishing the calls in flight; another signal stops the worker at once")
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop
