"""Writes lines about `rollcall enrol` to the log of changes, so that the pages can undo them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rollcall.cli.correcting import user_name
from rollcall.cli.terminal import say
from rollcall.core.errors import InboxUnavailable, SettingsError
from rollcall.core.settings import Settings
from rollcall.database.open_database import open_database, sqlite_path
from rollcall.gallery.photo_outcomes import Enrolment
from rollcall.index.change_log import SqlChangeLog


@contextmanager
def enrolment_log(chosen: Settings) -> Iterator[Callable[[Enrolment], None]]:
    """A function that writes a line about a person's new photos.

    Without a database, the function does nothing. If the database cannot be used, it prints a
    warning and goes on, because the gallery has been changed by then.
    """
    with ExitStack() as stack:
        log = _open(chosen, stack)

        def record(done: Enrolment) -> None:
            added = [each.example_id for each in done.outcomes if each.example_id]
            if log is None or not added:
                return
            try:
                log.record(
                    user_name(), "enrol", done.name, {"photos": len(added)}, {"examples": added}
                )
            except InboxUnavailable as error:
                say(f"warning: the log has no line about {done.name!r}: {error}", err=True)

        yield record


def _open(chosen: Settings, stack: ExitStack) -> SqlChangeLog | None:
    path = sqlite_path(chosen)
    if path is not None and not path.is_file():
        return None
    try:
        database = open_database(chosen, must_exist=True)
    except (InboxUnavailable, SettingsError) as error:
        say(f"warning: the log will have no line about this change: {error}", err=True)
        return None
    stack.callback(database.close)
    return SqlChangeLog(database)
