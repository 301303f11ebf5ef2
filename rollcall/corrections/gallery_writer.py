"""Changes the gallery, writes the log, and queues the videos that may change.

The gallery is the truth. Before it is written, the log gets a line that says what is about to be
changed (`started_changes`). After it, one transaction completes the line and queues the videos. If
the process dies in between, the Rematcher finds a gallery with a version that nobody knows, and
calls `catch_up`: all stored faces are compared with this gallery, and the line is completed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sqlalchemy import Connection, select

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
from rollcall.corrections.gallery_edits import Edit, MakeEdit, about_ignored
from rollcall.corrections.recorded_changes import (
    Then,
    record_change,
    record_gallery,
    record_started,
)
from rollcall.corrections.started_changes import Line, drop, start
from rollcall.database.database import Database
from rollcall.database.index_tables import video
from rollcall.database.removal_lock import correcting
from rollcall.gallery.gallery_formats import is_native, render_gallery
from rollcall.gallery.gallery_locations import parse_gallery_at, read_gallery
from rollcall.index.rematch_rows import add_videos, newest_version, set_version

MAX_NEAR = 10_000
"""Limit on the faces that a search returns. If more are near, every video is compared again."""

IDS_AT_ONCE = 5000
"""Videos that one transaction queues when all videos are compared, so that others can write in
between."""


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
        then: Then | None = None,
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
                now_s = self._database.now_s(connection)
                done = record_change(connection, now_s, change_id, line, edit, near, then)
                # If somebody else has changed the gallery since, the Rematcher has to find that.
                if newest_version(connection) in ("", before):
                    set_version(connection, now_s, edit.gallery.version, done)
                return done

            return self._database.run(record)

    def compare_everything(self) -> None:
        """Queue all videos with stored faces."""
        last_id, more = 0, True
        while more:
            after_id = last_id

            def add(connection: Connection, after_id: int = after_id) -> list[int]:
                query = select(video.c.id).where(video.c.id > after_id).order_by(video.c.id)
                ids = list(connection.execute(query.limit(IDS_AT_ONCE)).scalars())
                add_videos(connection, self._database.now_s(connection), None, ids)
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
        short. If no gallery is known yet, only remember the version. While a person is removed, do
        nothing."""
        with self._lock, correcting(self._database) as check:
            with self._database.reading() as connection:
                known = newest_version(connection)
            if not check or known == gallery.version:
                return
            if known:
                self.compare_everything()
            self._record_gallery(gallery)

    def compare_with(self, gallery: Gallery) -> None:
        """Compare everything with a gallery, whether it has changed or not."""
        with self._lock:
            self.compare_everything()
            with correcting(self._database) as check:
                if check:
                    self._record_gallery(gallery)

    @contextmanager
    def _without_removal(self) -> Iterator[None]:
        with correcting(self._database) as check:
            if check is None:
                raise InboxUnavailable(
                    "a person is being removed, which may take minutes; try this again afterwards"
                )
            yield

    def _record_gallery(self, gallery: Gallery) -> None:
        """Do nothing if the gallery has changed since it was read. If a person was removed since,
        lines with the name would be written again. The Rematcher notices the newer version."""
        with suppress(GalleryMissing):
            if read_gallery(self._location).version == gallery.version:
                self._database.run(lambda connection: self._record_newest(connection, gallery))

    def _record_newest(self, connection: Connection, gallery: Gallery) -> None:
        record_gallery(connection, self._database.now_s(connection), gallery, self._token)

    def _record_started(self, connection: Connection, gallery: Gallery) -> None:
        record_started(connection, self._database.now_s(connection), gallery, self._token)

    def _remember_first_version(self) -> None:
        """Without a known version, a correction that is cut short would not be noticed."""
        with self._database.reading() as connection:
            if newest_version(connection):
                return
        with suppress(GalleryMissing):
            gallery = read_gallery(self._location)
            self._database.run(lambda connection: self._record_newest(connection, gallery))

    def _edit(self, line: Line, make_edit: MakeEdit, then: Then | None) -> tuple[int, str, Edit]:
        """Start the line and write the edited gallery. Return the id of the line, the version
        before, and the edit."""
        done: list[tuple[int, str, Edit]] = []

        def change_bytes(body: bytes | None) -> bytes | None:
            gallery = self._parse(body)
            # If our own write had succeeded and only its answer was lost, this is called again.
            if done and gallery.version == done[-1][2].gallery.version:
                return None
            self._database.run(lambda connection: self._record_started(connection, gallery))
            edit = about_ignored(make_edit(gallery), gallery)

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
