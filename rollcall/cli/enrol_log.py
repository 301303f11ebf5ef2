"""What `rollcall enrol` does in the database.

It writes lines of the log, so that the pages can undo an enrolment, and corrects the results of
earlier videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy import select

from rollcall.cli.correcting import correct_now, corrections_in, say_done, user_name
from rollcall.cli.terminal import say
from rollcall.core.errors import InboxUnavailable, RollcallError, SettingsError
from rollcall.core.gallery import Gallery
from rollcall.core.settings import Settings
from rollcall.database.database import Database
from rollcall.database.index_tables import video
from rollcall.database.open_database import open_database, sqlite_path
from rollcall.gallery.photo_outcomes import Enrolment
from rollcall.index.change_log import SqlChangeLog
from rollcall.index.rematch_rows import newest_version

CORRECTING_S = 10.0
"""How long the command corrects results. Whoever enrols people one by one would otherwise wait for
the results of all videos each time."""


class EnrolmentLog:
    """The log of a command that enrols people, and the results that the command may change.

    Without a database, it does nothing. If the database or the store cannot be used, it prints a
    warning, because the gallery has been changed by then.
    """

    def __init__(self, chosen: Settings, database: Database | None = None) -> None:
        self._chosen = chosen
        self._database = database
        self._has_changed = False
        self._is_gallery_of_results = False

    def note_gallery(self, before: Gallery) -> None:
        """Note whether the results follow this gallery, as it is before the command changes it."""
        if self._database is not None:
            self._is_gallery_of_results = _made_results(before.version, self._database)

    def record(self, done: Enrolment) -> None:
        """Write a line about a person's new photos, if there are any."""
        added = [each.example_id for each in done.outcomes if each.example_id]
        if self._database is None or not added:
            return
        self._has_changed = True
        try:
            SqlChangeLog(self._database).record(
                user_name(), "enrol", done.name, {"photos": len(added)}, {"examples": added}
            )
        except InboxUnavailable as error:
            say(f"warning: the log has no line about {done.name!r}: {error}", err=True)

    def correct_results(self) -> None:
        """After a change of the gallery, compare the stored faces of all videos with it.

        A running `rollcall web` shares the work. It does the rest of it, too, if there are more
        videos than can be compared in CORRECTING_S.
        """
        if self._database is None or not self._has_changed:
            return
        if not self._is_gallery_of_results:
            say(
                "the results of earlier videos are not corrected, because they were made with"
                " another gallery; to correct them with this one, run `rollcall index rematch`",
                err=True,
            )
            return
        try:
            parts = corrections_in(self._database, self._chosen)
            parts.corrections.gallery_changed()
            if parts.rematcher.pending():
                done = correct_now(parts.rematcher, CORRECTING_S)
                say_done(done, parts.rematcher.pending())
        except RollcallError as error:
            say(
                f"warning: the results of earlier videos are not corrected yet: {error};"
                " `rollcall web` corrects them, and so does `rollcall index rematch`",
                err=True,
            )


@contextmanager
def enrolment_log(chosen: Settings) -> Iterator[EnrolmentLog]:
    """The log in the database that the settings name, if there is one."""
    database = _open(chosen)
    if database is None:
        yield EnrolmentLog(chosen)
        return
    with closing(database):
        yield EnrolmentLog(chosen, database)


def _open(chosen: Settings) -> Database | None:
    path = sqlite_path(chosen)
    if path is not None and not path.is_file():
        return None
    try:
        return open_database(chosen, must_exist=True)
    except (InboxUnavailable, SettingsError) as error:
        say(f"warning: the log will have no line about this change: {error}", err=True)
        return None


def _made_results(version: str, database: Database) -> bool:
    """Whether the results in the database follow this version of a gallery.

    Otherwise ENCODINGS names another gallery than that of the functions and the pages, and the
    results would lose their names.
    """
    try:
        with database.reading() as connection:
            if known := newest_version(connection):
                return known == version
            newest = select(video.c.gallery).where(video.c.gallery != "")
            made_with = connection.execute(newest.order_by(video.c.id.desc()).limit(1)).scalar()
            return made_with in (None, version)  # None: there are no results
    except InboxUnavailable:
        return True  # `correct_results` then says why it cannot correct them
