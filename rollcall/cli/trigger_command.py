"""`trigger_openfaas.py`: flags -> settings -> start -> stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Command
from rollcall.core.errors import SettingsError
from rollcall.core.settings import Settings
from rollcall.queues.inbox_file import InboxOwner
from rollcall.trigger import notifications as registration
from rollcall.trigger.advertised import checked_url
from rollcall.trigger.http_server import listen
from rollcall.trigger.trigger_service import Trigger, build_trigger


@click.command(cls=Command, context_settings={"show_default": True})
@click.option("--register", "wanted", is_flag=True, help="Create buckets, topic and notification.")
@click.option(
    "--unregister",
    is_flag=True,
    help="Remove this trigger's topic and notification, or with --advertise those of that address;"
    " keep the buckets, and end.",
)
@click.option(
    "--advertise",
    metavar="URL",
    help="This trigger's address as the store sees it, http://HOST:PORT.",
)
@click.option(
    "--no-check",
    is_flag=True,
    help="Register even if this machine cannot reach the advertised address itself.",
)
@click.option(
    "--via",
    type=click.Choice(["ceph", "sns"]),
    default="ceph",
    help="Who pushes: Ceph's gateway itself, or SNS through a subscription.",
)
@command_errors
def main(wanted: bool, unregister: bool, advertise: str | None, no_check: bool, via: str) -> None:
    """Take bucket notifications, and call the OpenFaaS function for each new video.

    Settings come from the environment, OpenFaaS secrets and .env; the README lists them.
    """
    if wanted and not advertise:
        raise click.UsageError("--register needs --advertise URL")
    if wanted and unregister:
        raise click.UsageError("--register and --unregister are opposites")
    chosen = settings()
    if unregister:
        registration.unregister(chosen, via, advertise)
        return
    if wanted and advertise:
        checked_url(advertise, chosen)  # a malformed address needs no server to be found

    def before_start() -> None:
        if wanted and advertise:
            if not no_check:
                registration.check(chosen, advertise, via)
            registration.register(chosen, advertise, via)

    with InboxOwner(Path(chosen.inbox)):
        serve(chosen, before_start)


def serve(chosen: Settings, before_start: Callable[[], None]) -> None:
    """Runs until SIGTERM or Ctrl-C; calls in flight end first.

    Events are stored from the first moment, because some stores send a test event while they are
    registered; work on them starts after `before_start`, whose error ends the server.
    """
    trigger = build_trigger(chosen)
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
        """waitress ends its loop on SystemExit, after some seconds for requests that are running;
        the dispatcher claims nothing from now on."""
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
        return listen(trigger.app, host, int(port), trigger.access.known)
    except OSError as error:
        raise SettingsError(f"TRIGGER_LISTEN {chosen.trigger_listen}: {error.strerror}") from error
