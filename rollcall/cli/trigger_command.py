"""The command `trigger_openfaas.py`: parses flags, loads settings, registers, runs the trigger."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import Any

import click

from rollcall.cli.entry import command_errors, settings, tracer_for
from rollcall.cli.terminal import Command
from rollcall.core.listen_errors import cannot_listen
from rollcall.core.queue_protocols import WorkQueue
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.database.open_database import open_database
from rollcall.queues.sql_queue import SqlQueue
from rollcall.trigger import notifications as registration
from rollcall.trigger.advertised import checked_url
from rollcall.trigger.http_server import listen
from rollcall.trigger.trigger_service import Trigger, build_trigger


@click.command(cls=Command, context_settings={"show_default": True})
@click.option(
    "--register",
    "registers",
    is_flag=True,
    help="Create buckets, topic and notification before the trigger runs.",
)
@click.option(
    "--unregister",
    is_flag=True,
    help="Remove the topic and notification of this trigger, or of the address in --advertise. Keep"
    " the buckets, and exit.",
)
@click.option(
    "--advertise",
    metavar="URL",
    help="This trigger's address as the store sees it, http://HOST:PORT.",
)
@click.option(
    "--no-check",
    is_flag=True,
    help="Register even if this machine cannot reach the advertised address.",
)
@click.option(
    "--via",
    type=click.Choice(["ceph", "sns"]),
    default="ceph",
    help="Who sends the events: Ceph's gateway itself, or SNS through a subscription.",
)
@command_errors
def main(
    registers: bool, unregister: bool, advertise: str | None, no_check: bool, via: str
) -> None:
    """Receive bucket notifications, and call the OpenFaaS function for each new video.

    Settings come from the environment, OpenFaaS secrets and .env; the README lists them.
    """
    if registers and not advertise:
        raise click.UsageError("--register needs --advertise URL")
    if registers and unregister:
        raise click.UsageError("--register and --unregister cannot be used together")
    chosen = settings()
    if unregister:
        registration.unregister(chosen, via, advertise)
        return
    if registers and advertise:
        checked_url(advertise, chosen)  # a malformed address is reported before anything starts

    def before_start() -> None:
        if registers and advertise:
            if not no_check:
                registration.check(chosen, advertise, via)
            registration.register(chosen, advertise, via)

    with closing(open_database(chosen)) as database:
        queue = SqlQueue(database)
        with queue.own():
            serve(chosen, queue, database, before_start)


def serve(
    chosen: Settings, queue: WorkQueue, database: Database, before_start: Callable[[], None]
) -> None:
    """Run the trigger until SIGTERM or Ctrl-C, and until the calls in flight have ended.

    The server listens while `before_start` runs, because some stores send a test event when they
    are registered. Calls start after `before_start`; if it raises, the trigger stops and raises its
    error.
    """
    tracer = tracer_for("rollcall-trigger")
    trigger = build_trigger(chosen, queue, database, tracer=tracer)
    server = _listen(chosen, trigger)
    errors: list[Exception] = []

    def start() -> None:
        try:
            before_start()
            trigger.start()
        except Exception as error:
            errors.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        # On SystemExit, waitress ends its loop, and gives running requests a few seconds. The
        # dispatcher must not start calls in those seconds.
        trigger.halt()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    starter = threading.Thread(target=start, name="starter")
    starter.start()
    try:
        server.run()
    finally:
        trigger.halt()
        server.close()
        starter.join()
        trigger.stop()
    if errors:
        raise errors[0]


def _listen(chosen: Settings, trigger: Trigger) -> Any:
    host, _, port = chosen.trigger_listen.rpartition(":")
    try:
        return listen(trigger.app, host, int(port), trigger.access.is_known)
    except OSError as error:
        users = "`rollcall up` or another trigger"
        raise cannot_listen("TRIGGER_LISTEN", chosen.trigger_listen, error, users) from error
