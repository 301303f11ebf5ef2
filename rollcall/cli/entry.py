"""Parts that all commands share: settings, logs, and short error messages."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec

from rollcall.cli.terminal import LogLines, say_block
from rollcall.config import load_settings
from rollcall.core.errors import NameRefused, RollcallError, SettingsError
from rollcall.core.settings import Settings
from rollcall.logs import set_up_logs
from rollcall.tracing import Tracer, open_tracer

if TYPE_CHECKING:
    from rollcall.core.gallery import Gallery
    from rollcall.core.protocols import GalleryLocation

P = ParamSpec("P")

COMMAND_FAILED = 1
"""Exit code of a command that failed, or found something wrong."""
BAD_USAGE = 2
"""Exit code for wrong arguments or settings; click uses it too."""


def command_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Decorate a command so that a RollcallError ends it with the error's message and exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        # Loading the settings may already log warnings. A wrong LOG_FORMAT is reported by then.
        set_up_logs(os.environ.get("LOG_FORMAT", ""), LogLines())
        try:
            command(*args, **kwargs)
        except RollcallError as error:
            say_block(f"error: {error}{_private_cause(error)}", err=True)
            sys.exit(BAD_USAGE if isinstance(error, SettingsError) else COMMAND_FAILED)

    return run


def _private_cause(error: BaseException) -> str:
    """Return the message of a NameRefused that caused the error, to be shown after it.

    It contains a person's name. The error's own message does not, because it may be logged.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, NameRefused):
        cause = cause.__cause__
    return f"; {cause}" if cause is not None and cause is not error else ""


def settings(*, offline: bool = False) -> Settings:
    """Load the settings of this process, and log as they say. Raises SettingsError."""
    chosen = load_settings(os.environ, offline=offline)
    set_up_logs(chosen.log_format)
    return chosen


def tracer_for(service: str) -> Tracer:
    """The tracer of this process, as OpenTelemetry's environment variables ask for it."""
    return open_tracer(service, os.environ)


def print_gallery(location: GalleryLocation, gallery: Gallery) -> None:
    """Print which gallery a command uses, on stderr because stdout may be parsed."""
    # Imported here, because the trigger needs neither galleries nor numpy, which is slow to load.
    from rollcall.gallery.gallery_locations import describe_gallery

    say_block(describe_gallery(location, gallery), err=True)
