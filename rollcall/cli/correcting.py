"""Parts of the commands that correct the gallery and earlier results."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from rollcall.cli.progress import progress
from rollcall.cli.terminal import say
from rollcall.core.printable import printable
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.database.open_database import open_database
from rollcall.index.change_log import SqlChangeLog
from rollcall.stores.boto import dynamodb_client, s3_client
from rollcall.stores.dynamodb import DynamoStudents
from rollcall.stores.s3 import S3Store
from rollcall.wiring import build_gallery_location, space_of

if TYPE_CHECKING:
    from rollcall.corrections.correction_parts import CorrectionParts
    from rollcall.corrections.rematch_queue import Done
    from rollcall.corrections.rematcher import Rematcher


@contextmanager
def opened_corrections(
    chosen: Settings, *, must_exist: bool = False
) -> Iterator[tuple[CorrectionParts, SqlChangeLog]]:
    """The corrections of the gallery and of all results, and the log of changes.

    Raises InboxUnavailable if the database cannot be used, and SettingsError if it does not exist
    although `must_exist` is true.
    """
    with closing(open_database(chosen, must_exist=must_exist)) as database:
        yield corrections_in(database, chosen), SqlChangeLog(database)


def corrections_in(database: Database, chosen: Settings) -> CorrectionParts:
    """The corrections of the gallery and of all results in this database."""
    # Imported here, because the image of the trigger has neither galleries nor stored faces.
    from rollcall.corrections.correction_parts import build_corrections

    return build_corrections(
        chosen,
        database,
        S3Store(s3_client(chosen)),
        build_gallery_location(chosen),
        DynamoStudents(dynamodb_client(chosen), chosen.student_table),
        space=space_of(chosen),
    )


def user_name() -> str:
    """The name for the log of whoever runs this command, for example `olga (command line)`.

    The pages also show it, where the name of an account, such as root, could be that of a user.
    """
    try:
        # The variable LOGNAME may hold any bytes.
        return f"{printable(getpass.getuser())} (command line)"
    except (KeyError, OSError):  # the account of a container may have no name
        return "command line"


def correct_now(rematcher: Rematcher, limit_s: float | None = None) -> Done:
    """Correct all videos that wait for it, and show the progress. Stop after `limit_s` seconds."""
    with progress("correcting", rematcher.pending(), "videos") as shown:
        before = 0

        def advance(done: Done, left: int) -> None:
            nonlocal before
            shown.expect(done.all + left)
            shown.advance(done.all - before)
            before = done.all

        return rematcher.run_due(advance, limit_s)


def say_done(done: Done, left: int) -> None:
    """Print what became of the videos."""
    say(f"results changed: {done.changed}, unchanged: {done.unchanged}", err=True)
    if done.failed:
        say(f"not corrected, the messages above say why: {done.failed}", err=True)
    if left:
        say(
            f"left for later: {left}; `rollcall web` corrects them, and so does"
            " `rollcall index rematch`",
            err=True,
        )
