"""Changes the gallery, writes the log, and queues the videos that may change.

The gallery is the truth. Before it is written, the log gets a line that says what is about to be
changed (`started_changes`). After it, one transaction completes the line and queues the videos. If
the process dies in between, the Rematcher finds a gallery with a version that nobody knows, and
calls `catch_up`: all stored faces are compared with this gallery, and the line is completed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from sqlalchemy import ColumnElement, Connection, select

from rollcall.core.errors import (
    GalleryError,
    GalleryMissing,
    InboxUnavailable,
    PermanentError,
)
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.protocols import GalleryLocation
from rollcall.core.types import Encodings
from rollcall.core.verdicts import new_id
from rollcall.core.web_protocols import FaceSearch
from rollcall.corrections.gallery_edits import Edit, MakeEdit
from rollcall.corrections.lost_lines import write_lost_lines
from rollcall.corrections.started_changes import (
    IN_PROGRESS_S,
    KEEP_S,
    MAX_AGE_S,
    Line,
    drop,
    finish,
    is_line,
    start,
    started_changes,
)
from rollcall.database.database import Database
from rollcall.database.index_tables import appearance, person, video
from rollcall.database.removal_lock import correcting
from rollcall.gallery.gallery_formats import is_native, render_gallery
from rollcall.gallery.gallery_locations import parse_gallery_at, read_gallery
from rollcall.index.change_log import mark_undone, write_line
from rollcall.index.rematch_rows import add_videos, add_where, newest_version, set_version

log = logging.getLogger(__name__)

MAX_NEAR = 10_000
"""Limit on the faces that a search returns. If more are near, every video is compared again."""

IDS_AT_ONCE = 5000
"""Videos that one transaction queues when all videos are compared, so that others can write in
between."""


_IGNORED = (
    video.c.coverage.contains('"ignored": '),
    ~video.c.coverage.contains('"ignored": 0'),
)
"""Videos in which somebody is ignored. No database index covers this
condition, but the query is rare."""


class GalleryWriter:
    """Safe to share between threads. Other processes may change the same gallery."""

    def __init__(
        self, database: Database, location: GalleryLocation, search: FaceSearch, tolerance: float
    ) -> None:
        """`tolerance` is that of the encoding space: faces within it may get another name."""
        self._database = database
        self._location = location
        self._search = search
        self._tolerance = tolerance
        self._token = new_id()
        self._lock = threading.Lock()

    def write(
        self,
        line: Line,
        make_edit: MakeEdit,
        then: Callable[[Connection, int], None] | None = None,
    ) -> int:
        """Make the edit, and return the id of its line. `then` adds to the line's transaction,
        before the gallery is written.

        Raises GalleryError if the edit cannot be made, and TransientError, also while a person is
        removed: a person who got another name in the middle of the removal would not be found.
        """
        with self._lock, self._without_removal():
            self._remember_first_version()
            change_id, before, edit = self._edit(line, make_edit, then)
            near = self._videos_near(edit.gallery.space, edit.encodings)

            def record(connection: Connection) -> int:
                done = self._record(connection, change_id, line, edit, near, then)
                # If somebody else has changed the gallery since, the Rematcher has to find that.
                if newest_version(connection) in ("", before):
                    now_s = self._database.now_s(connection)
                    set_version(connection, now_s, edit.gallery.version, done)
                return done

            return self._database.run(record)

    def compare_everything(self, change_id: int | None = None) -> None:
        """Queue all videos with stored faces."""
        last_id, more = 0, True
        while more:
            after_id = last_id

            def add(connection: Connection, after_id: int = after_id) -> list[int]:
                query = select(video.c.id).where(video.c.id > after_id).order_by(video.c.id)
                ids = list(connection.execute(query.limit(IDS_AT_ONCE)).scalars())
                add_videos(connection, self._database.now_s(connection), change_id, ids)
                return ids

            ids = self._database.run(add)
            more, last_id = bool(ids), ids[-1] if ids else 0

    def is_known(self, gallery: Gallery) -> bool:
        """Whether the videos were queued for this version of the gallery."""
        with self._database.reading() as connection:
            known = newest_version(connection)
        return known == gallery.version

    def catch_up(self, gallery: Gallery) -> None:
        """Compare everything with a gallery that somebody else changed, or whose correction was cut
        short. If no gallery is known yet, only remember the version."""
        with self._lock:
            with self._database.reading() as connection:
                known = newest_version(connection)
            if known not in ("", gallery.version):
                self.compare_everything()
            if known != gallery.version:
                self._catch_up_safely(gallery)

    def compare_with(self, gallery: Gallery) -> None:
        """Compare everything with a gallery, whether it has changed or not."""
        with self._lock:
            self.compare_everything()
            self._catch_up_safely(gallery)

    @contextmanager
    def _without_removal(self) -> Iterator[None]:
        with correcting(self._database) as check:
            if check is None:
                raise InboxUnavailable(
                    "a person is being removed, which may take minutes; try this again afterwards"
                )
            yield

    def _catch_up_safely(self, gallery: Gallery) -> None:
        """Do nothing if the gallery has changed since it was read. If a person was removed since,
        lines with the name would be written again. The Rematcher notices the newer version."""
        with correcting(self._database) as check, suppress(GalleryMissing):
            if check and read_gallery(self._location).version == gallery.version:
                self._database.run(lambda connection: self._catch_up(connection, gallery))

    def _remember_first_version(self) -> None:
        """Without a known version, a correction that is cut short would not be noticed."""
        with self._database.reading() as connection:
            if newest_version(connection):
                return
        with suppress(GalleryMissing):
            gallery = read_gallery(self._location)
            self._database.run(lambda connection: self._catch_up(connection, gallery))

    def _edit(
        self, line: Line, make_edit: MakeEdit, then: Callable[[Connection, int], None] | None
    ) -> tuple[int, str, Edit]:
        """Start the line and write the edited gallery. Return the id of the line, the version
        before, and the edit."""
        done: list[tuple[int, str, Edit]] = []

        def change_bytes(body: bytes | None) -> bytes | None:
            gallery = self._parse(body)
            # If our own write had succeeded and only its answer was lost, this is called again.
            if done and gallery.version == done[-1][2].gallery.version:
                return None
            self._database.run(lambda connection: self._finish_started(connection, gallery))
            edit = make_edit(gallery)

            def begin(connection: Connection) -> int:
                if done:
                    drop(connection, done[-1][0])
                now_s = self._database.now_s(connection)
                change_id = start(connection, now_s, line, self._token, gallery, edit)
                if then:
                    then(connection, change_id)
                return change_id

            done.append((self._database.run(begin), gallery.version, edit))
            return render_gallery(edit.gallery)

        try:
            self._location.update(change_bytes)
        except PermanentError:
            if done:  # the gallery was not written; after other errors, it may have been
                self._database.run(lambda connection: drop(connection, done[-1][0]))
            raise
        return done[-1]

    def _finish_started(
        self, connection: Connection, gallery: Gallery, *, everything: bool = False
    ) -> None:
        """Complete the started lines that the gallery shows, and delete those that failed.

        Lines of other processes may be in progress. With `everything`, that does not matter,
        because all videos are compared anyway.
        """
        now_s = self._database.now_s(connection)
        for started in started_changes(connection, 0.0 if everything else now_s - MAX_AGE_S):
            age_s = now_s - started.at_s
            if not (everything or started.writer == self._token or age_s > IN_PROGRESS_S):
                continue
            if started.is_in(gallery):
                self._record(connection, started.id, started.line, started.edit(gallery), None)
            elif age_s > KEEP_S:
                drop(connection, started.id)

    def _parse(self, body: bytes | None) -> Gallery:
        if body is None:
            return empty_gallery()
        if not is_native(body):
            raise GalleryError(
                f"the gallery {self._location} is a pickle, which can only be read;"
                " convert it first: rollcall gallery convert OLD NEW.npz"
            )
        return parse_gallery_at(self._location, body)

    def _videos_near(self, space: str, encodings: Sequence[Encodings]) -> set[int] | None:
        """The videos with a face near one of the encodings; None if there are too many."""
        ids: set[int] = set()
        for rows in encodings:
            if not len(rows):
                continue
            found = self._search.find(rows, space, self._tolerance, MAX_NEAR)
            if len(found) >= MAX_NEAR:
                return None
            ids |= {each.face.video_id for each in found}
        return ids

    def _record(
        self,
        connection: Connection,
        change_id: int,
        line: Line,
        edit: Edit,
        near: set[int] | None,
        then: Callable[[Connection, int], None] | None = None,
    ) -> int:
        """Complete the started line, and queue the videos. Return the id of the line."""
        now_s = self._database.now_s(connection)
        if not finish(connection, change_id, line, edit.undo):
            if is_line(connection, change_id):
                return change_id  # another process has found the change in the gallery
            texts = (line.who, line.action, line.name, line.details)
            change_id = write_line(connection, now_s, *texts, edit.undo)
            if then:
                then(connection, change_id)
        if line.undoes is not None and not mark_undone(connection, line.undoes, change_id):
            log.warning("the change %d was undone twice", line.undoes)
        if near is None:
            add_where(connection, now_s, change_id, video.c.kept != "none")
        else:
            add_videos(connection, now_s, change_id, near)
        if edit.ignored:
            add_where(connection, now_s, change_id, video.c.kept != "none", *_IGNORED)
        if edit.names:
            add_where(connection, now_s, change_id, _shows(edit.names), _can_change(line))
        return change_id

    def _catch_up(self, connection: Connection, gallery: Gallery) -> None:
        now_s = self._database.now_s(connection)
        self._finish_started(connection, gallery, everything=True)
        if newest_version(connection):
            write_lost_lines(connection, now_s, gallery)
        set_version(connection, now_s, gallery.version)


def _shows(names: Sequence[str]) -> ColumnElement[bool]:
    people = select(person.c.id).where(person.c.name.in_(names))
    shown = select(appearance.c.video_id).where(appearance.c.person_id.in_(people))
    return video.c.id.in_(shown)


def _can_change(line: Line) -> ColumnElement[bool]:
    """Without stored faces, only names can change: by rename and merge, and their undo."""
    is_renamed = {line.action, line.details.get("action")} & {"rename", "merge"}
    return video.c.status != "error" if is_renamed else video.c.kept != "none"
