"""What `rollcall gallery remove` does in the database."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rollcall.cli.correcting import user_name
from rollcall.cli.same_people import join_same_people
from rollcall.core.errors import GalleryError, InboxUnavailable, PermanentError
from rollcall.core.protocols import GalleryLocation
from rollcall.core.settings import SQLITE_URL, Settings
from rollcall.database.open_database import open_database
from rollcall.database.removal_lock import removing
from rollcall.gallery.forgetting import Mention, PersonRemoval
from rollcall.gallery.gallery_locations import read_gallery
from rollcall.index.change_log import SqlChangeLog
from rollcall.index.forgotten_people import PersonInDatabase
from rollcall.index.former_names import former_names_of, waiting_with_former_name
from rollcall.index.rematch_rows import set_version_of_removal

log = logging.getLogger(__name__)


def has_database(chosen: Settings) -> bool:
    """Whether there is a database; that of another machine counts, even if it does not answer."""
    url = chosen.database_url
    return not url.startswith(SQLITE_URL) or Path(url.removeprefix(SQLITE_URL)).is_file()


@contextmanager
def alone_in_database(chosen: Settings, name: str) -> Iterator[None]:
    """Let nobody correct videos during the block, in which a person is removed.

    Raises InboxUnavailable, also at the end if the connection broke in between, and PermanentError
    while videos show a former name of the person, by which the removal cannot find them.
    """
    if not has_database(chosen):
        yield
        return
    with closing(open_database(chosen)) as database, removing(database) as check:
        with database.reading() as connection:
            waiting = waiting_with_former_name(connection, name)
        if waiting:
            raise PermanentError(
                f"videos that wait to be corrected and may have a former name of this person:"
                f" {waiting}; run `rollcall index rematch`, or wait for `rollcall web`, and then"
                " remove the person again"
            )
        yield
        check()


def former_names(chosen: Settings, name: str) -> list[str]:
    """The names that the person had before, according to the log. Raises InboxUnavailable."""
    if not has_database(chosen):
        return []
    with closing(open_database(chosen)) as database, database.reading() as connection:
        return former_names_of(connection, name)


def leave_results(chosen: Settings, location: GalleryLocation) -> None:
    """Keep `rollcall web` from comparing all stored faces with the gallery now.

    The comparison would turn the person into an unknown person in the stored faces, and the removal
    could not find the person there any more.
    """
    if not has_database(chosen):
        return
    try:
        version = read_gallery(location).version
        with closing(open_database(chosen)) as database:
            database.run(
                lambda connection: set_version_of_removal(
                    connection, database.now_s(connection), version
                )
            )
    except (GalleryError, InboxUnavailable) as error:
        log.warning(
            "`rollcall web` may compare stored faces with the gallery during the removal, and the"
            " person may then stay in some of them as an unknown person: %s",
            error,
        )


def in_database(removal: PersonRemoval, chosen: Settings) -> Iterator[Mention]:
    """Remove the person from the index, the log and all messages, and yield what was found.

    Raises InboxUnavailable.
    """
    if not has_database(chosen):
        return
    with closing(open_database(chosen)) as database:
        found = PersonInDatabase(database, removal.name, removal.faces)
        for trace in found.count() if removal.dry_run else found.remove():
            if trace.entries:
                yield Mention(trace.kind, f"the database {database.name}", trace.entries)
        if not removal.dry_run:
            # The gallery has lost the *same* verdicts about the person, whose groups have the
            # encodings of the verdict as their centres.
            join_same_people(database, chosen)


def log_removal(chosen: Settings, mentions: Iterable[Mention]) -> None:
    """Write a line into the log, as the pages do. It has no name. Raises InboxUnavailable."""
    counts = Counter[str]()
    for mention in mentions:
        if not mention.problem:
            counts[mention.counted_as] += mention.count
    if not counts or not has_database(chosen):
        return
    with closing(open_database(chosen)) as database:
        SqlChangeLog(database).record(user_name(), "forget", details=counts)
