"""What all commands share: settings, logs, and errors as one sentence."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

from rollcall.cli.terminal import say_block
from rollcall.config import load_settings
from rollcall.core.errors import NameRefused, RollcallError, SettingsError
from rollcall.core.gallery import Gallery
from rollcall.core.settings import Settings
from rollcall.gallery.gallery_places import GalleryPlace, described
from rollcall.logs import set_up_logs

P = ParamSpec("P")

FOUND_WRONG = 1
BAD_USAGE = 2


def command_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Errors of ours end the command with their sentence: 2 for a wrong setting, 1 else."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        set_up_logs()
        try:
            command(*args, **kwargs)
        except RollcallError as error:
            say_block(f"error: {error}{_private_cause(error)}", err=True)
            sys.exit(BAD_USAGE if isinstance(error, SettingsError) else FOUND_WRONG)

    return run


def _private_cause(error: BaseException) -> str:
    """The name that a gallery cannot have: people may see it, logs may not."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, NameRefused):
        cause = cause.__cause__
    return f"; {cause}" if cause is not None and cause is not error else ""


def settings(*, offline: bool = False) -> Settings:
    """Of this process."""
    return load_settings(os.environ, offline=offline)


def tell_gallery(place: GalleryPlace, gallery: Gallery) -> None:
    """Says which gallery a command uses; on stderr, because stdout may be data."""
    say_block(described(place, gallery), err=True)
