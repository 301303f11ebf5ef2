"""`rollcall web`: serve the pages."""

from __future__ import annotations

import signal
from contextlib import closing
from types import FrameType

import click

from rollcall.cli.entry import command_errors, settings
from rollcall.cli.terminal import Group, say
from rollcall.database.open_database import open_database
from rollcall.wiring import build_gallery_location


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
@command_errors
def web(context: click.Context) -> None:
    """Serve the pages that show who was in which video, until Ctrl-C.

    Settings come from the environment and .env; DATABASE_URL has to be that of the trigger.
    """
    if context.invoked_subcommand:
        return
    # Imported here, because other commands run in images without the packages of the pages.
    from rollcall.web.web_service import build_parts, listen

    chosen = settings()
    with closing(open_database(chosen)) as database:
        server = listen(chosen, build_parts(chosen, database, build_gallery_location(chosen)))

        def stop(number: int, frame: FrameType | None) -> None:
            raise SystemExit(0)

        signal.signal(signal.SIGTERM, stop)
        say(f"pages: http://{chosen.web_listen}/", err=True)
        server.run()
