"""Puts verdicts into the gallery, and makes other corrections of it (`core.web_protocols`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection

from rollcall.core.errors import PermanentError
from rollcall.core.gallery import Gallery
from rollcall.core.index_types import AnyFaceRef
from rollcall.core.names import checked_new_name, normalise_name
from rollcall.core.protocols import GalleryLocation
from rollcall.core.verdicts import Verdict, VerdictKind, new_id
from rollcall.core.web_protocols import Change
from rollcall.corrections.faces_of_verdicts import FacesOfVerdicts, ShownFaces
from rollcall.corrections.gallery_edits import (
    Edit,
    RemovedExample,
    add_verdicts,
    bring_back,
    merge,
    place_of,
    remove_example,
    rename,
    undo_edit,
)
from rollcall.corrections.gallery_writer import GalleryWriter
from rollcall.corrections.lost_lines import keys_of
from rollcall.corrections.name_changes import present_name
from rollcall.corrections.removed_examples import load_removed, store_removed
from rollcall.corrections.started_changes import Line
from rollcall.database.database import Database
from rollcall.database.removal_lock import correcting
from rollcall.gallery.enrolled_pictures import delete_pictures
from rollcall.gallery.gallery_locations import check_space, read_gallery
from rollcall.index.change_log import SqlChangeLog, newest_line
from rollcall.index.rematch_rows import pending
from rollcall.index.unknown_groups import SqlUnknownGroups

MakeVerdicts = Callable[[Gallery], list[Verdict]]
"""Makes the verdicts for the newest gallery, or refuses them."""


class GalleryCorrections:
    """Corrections of a gallery. Safe to share between threads.

    A `Rematcher`, in this process or another one, corrects the videos.
    """

    def __init__(
        self,
        database: Database,
        location: GalleryLocation,
        faces: FacesOfVerdicts,
        groups: SqlUnknownGroups,
        writer: GalleryWriter,
    ) -> None:
        self._database = database
        self._location = location
        self._faces = faces
        self._groups = groups
        self._writer = writer
        self._log = SqlChangeLog(database)

    def is_person(
        self, faces: Sequence[AnyFaceRef], name: str, who: str, others: Sequence[AnyFaceRef] = ()
    ) -> int:
        # All faces are read before anything changes, because a correction changes their numbers.
        shown, apart = self._faces.read(faces), self._faces.read(others) if others else None
        ids = new_id(), new_id()

        def make_verdicts(gallery: Gallery) -> list[Verdict]:
            checked = checked_new_name(name, gallery.people)
            verdicts = [shown.verdict("is", checked, who, ids[0])]
            if apart:
                verdicts.append(apart.verdict("not", checked, who, ids[1]))
            return verdicts

        return self._write_verdicts("is", normalise_name(name), shown, make_verdicts, who, apart)

    def is_not(self, faces: Sequence[AnyFaceRef], name: str, who: str) -> int:
        shown, person = self._faces.read(faces), normalise_name(name)
        # A face without a name is allowed, so that it does not get this name later.
        if others := [before for before in shown.names if before not in ("", person)]:
            raise PermanentError(
                f"this face is called {others[0]!r} and not {person!r} by now, because the video"
                " was corrected; reload the page"
            )
        make_verdicts = self._verdict("not", person, shown, who)
        return self._write_verdicts("not", person, shown, make_verdicts, who)

    def same(self, faces: Sequence[AnyFaceRef], who: str) -> int:
        shown = self._faces.read(faces)
        if len(shown.encodings) < 2:
            raise PermanentError("choose two faces or more that show the same person")
        if named := sorted({name for name in shown.names if name}):
            raise PermanentError(
                f"a face is called {named[0]!r}; give the other faces this name instead, or merge"
                " the two people"
            )
        make_verdicts = self._verdict("same", "", shown, who)
        return self._write_verdicts("same", "", shown, make_verdicts, who)

    def ignore(self, faces: Sequence[AnyFaceRef], who: str) -> int:
        shown = self._faces.read(faces)
        make_verdicts = self._verdict("ignore", "", shown, who)
        return self._write_verdicts("ignore", "", shown, make_verdicts, who)

    def rename(self, name: str, new_name: str, who: str) -> int:
        new = normalise_name(new_name)
        line = Line(who, "rename", normalise_name(name), {"new_name": new})
        return self._writer.write(line, rename(name, new_name))

    def merge(self, name: str, into: str, who: str) -> int:
        line = Line(who, "merge", normalise_name(name), {"into": normalise_name(into)})
        return self._writer.write(line, merge(name, into))

    def remove_example(self, name: str, example_id: str, who: str) -> int:
        gallery = read_gallery(self._location)
        source = gallery.examples[place_of(gallery, name, example_id)].source
        removed: list[RemovedExample] = []
        details = {"photo": source.photo, "keys": keys_of([source])}
        line = Line(who, "remove_photo", normalise_name(name), details)

        def then(connection: Connection, change_id: int) -> None:
            store_removed(connection, self._database.now_s(connection), change_id, removed[-1])

        return self._writer.write(line, remove_example(name, example_id, removed.append), then)

    def gallery_changed(self) -> None:
        self._writer.compare_with(read_gallery(self._location))
        self._join_same()  # a verdict may have been cut short

    def pending(self) -> int:
        with self._database.reading() as connection:
            return pending(connection)

    def undo(self, change_id: int, who: str) -> int:
        line = self._log.get(change_id)
        if line is None:
            raise PermanentError(f"the log has no change {change_id}")
        if not line.can_undo:
            raise PermanentError(_why_not_undone(line))
        undo = self._log.undo_of(change_id)
        if line.action == "remove_photo":
            make_edit = bring_back(self._removed(change_id))
        else:
            make_edit = undo_edit(line.action, undo)
        done = self._writer.write(_undo_line(line, who), make_edit)
        if line.action == "enrol":
            # An undo cannot be undone, so nobody needs the pictures of these photos any more.
            delete_pictures(self._location, undo.get("examples", ()))
        if line.action == "same":
            self._join_same()
        return done

    def _removed(self, change_id: int) -> RemovedExample:
        """The removed photo, with the name that the person has now."""
        removed = load_removed(self._database, change_id)
        with self._database.reading() as connection:
            newest = newest_line(connection)
            name, _ = present_name(connection, removed.name, change_id, newest)
        return removed._replace(name=name)

    def _verdict(self, kind: VerdictKind, name: str, shown: ShownFaces, who: str) -> MakeVerdicts:
        verdict = shown.verdict(kind, name, who, new_id())

        def make(gallery: Gallery) -> list[Verdict]:
            if name and name not in gallery.people:
                raise PermanentError(f"{name!r} is not in the gallery any more; reload the page")
            return [verdict]

        return make

    def _write_verdicts(
        self,
        kind: VerdictKind,
        name: str,
        shown: ShownFaces,
        make_verdicts: MakeVerdicts,
        who: str,
        apart: ShownFaces | None = None,
    ) -> int:
        def make_edit(gallery: Gallery) -> Edit:
            fitting = check_space(self._location, gallery, shown.space)
            return add_verdicts(make_verdicts(fitting))(fitting)

        details: dict[str, Any] = {"faces": len(set(shown.faces)), "keys": keys_of(shown.sources)}
        if apart:
            details["others"] = len(set(apart.faces))
        if before := sorted({each for each in shown.names if each and each != name}):
            details["before"] = before
        done = self._writer.write(Line(who, kind, name, details), make_edit)
        if kind == "same":
            self._join_same()
        return done

    def _join_same(self) -> None:
        # Otherwise a removal could take a verdict out of the gallery in between, and the groups
        # would get the person's encodings back. A removal ends with the same step.
        with correcting(self._database) as check:
            if check:
                gallery = read_gallery(self._location)
                same = [each.encodings for each in gallery.verdicts if each.kind == "same"]
                self._groups.set_same(same)


def _undo_line(line: Change, who: str) -> Line:
    details: dict[str, Any] = {"action": line.action, **line.details}
    name = line.name
    if line.action == "rename":  # a rename back
        name, details["new_name"] = details["new_name"], line.name
    return Line(who, "undo", name, details, undoes=line.id)


def _why_not_undone(line: Change) -> str:
    if line.undone_by is not None:
        return f"the change {line.id} is already undone"
    return f"the change {line.id} ({line.action}) cannot be undone"
