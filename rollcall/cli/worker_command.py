"""The command `openstack_handler.py`: parses flags, loads settings, runs the worker."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command, say
from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store
from rollcall.worker.dead_letters import replay as replay_dead_letters
from rollcall.worker.queue_registration import register as register_queues
from rollcall.worker.queues import Queues
from rollcall.worker.worker_service import Worker

if TYPE_CHECKING:
    from rollcall.index.indexer import Indexer

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
        with opened_indexer(chosen) as indexer:
            Worker(chosen, indexer=indexer).run(stop_on_signals())


@contextmanager
def opened_indexer(chosen: Settings) -> Iterator[Indexer | None]:
    """The indexer of the database that DATABASE_URL names; None if the setting has its default.

    Raises SettingsError.
    """
    if chosen.database_url == Settings().database_url:
        yield None
        return
    if not chosen.report_bucket:
        raise SettingsError(
            "DATABASE_URL is set, so the worker fills the index there from the reports, but"
            " REPORT_BUCKET is empty; set REPORT_BUCKET to that of the Lambda, or leave out"
            " DATABASE_URL"
        )
    # Imported here, because workers without an index need no database.
    from rollcall.database.open_database import open_database
    from rollcall.index.indexer import Indexer
    from rollcall.index.report_reader import ReportReader

    reader = ReportReader(S3Store(s3_client(chosen)), chosen.report_bucket)
    with closing(open_database(chosen)) as database:
        yield Indexer(database, reader)


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
