"""Enrols people from photos into a stored gallery, which other commands may change meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rollcall.core.errors import GalleryError, GalleryMissing, NameRefused
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.names import checked_name, checked_new_name
from rollcall.core.protocols import FaceEngine, GalleryLocation
from rollcall.core.types import Pixels
from rollcall.gallery.adding_faces import Adding, add_faces
from rollcall.gallery.enrolled_pictures import delete_pictures, write_pictures
from rollcall.gallery.gallery_formats import is_native, render_gallery
from rollcall.gallery.gallery_locations import GalleryFile, check_space, parse_gallery_at
from rollcall.gallery.photo_faces import CutOut, Photo, PhotoFace, find_faces
from rollcall.gallery.photo_outcomes import Enrolment, PhotoOutcome

ReadPhoto = Callable[[Path], Pixels]
FoundPerson = tuple[str, Sequence[PhotoFace | PhotoOutcome]]

PEOPLE_AT_ONCE = 20
"""Number of people whose faces are written to the gallery together. Each write reads and writes the
whole gallery; after an interruption, only the people since the last write have to be repeated."""


def load_for_change(location: GalleryLocation) -> Gallery:
    """Load the gallery, or return an empty one if it does not exist yet.

    Raises GalleryError for a pickle, because pickles are only read, never written.
    """
    try:
        return parse_for_change(location, location.load())
    except GalleryMissing:
        return empty_gallery()


def parse_for_change(location: GalleryLocation, body: bytes | None) -> Gallery:
    """Parse the bytes of a gallery that is to be written again; None stands for no gallery."""
    if body is None:
        return empty_gallery()
    if not is_native(body):
        raise GalleryError(
            f"the gallery {location} is a pickle, which can only be read;"
            " convert it first: rollcall gallery convert OLD NEW.npz"
        )
    return parse_gallery_at(location, body)


def enrol(
    gallery: Gallery,
    name: str,
    photos: Iterable[Path],
    engine: FaceEngine,
    read: ReadPhoto,
    tolerance: float,
) -> Enrolment:
    """Return the gallery with one more encoding for each good photo.

    The gallery must belong to the engine's encoding space. Raises GalleryError, before any photo is
    read, for a name that is not allowed or that looks like another name in the gallery.
    """
    name = checked_new_name(name, gallery.people)
    found = find_faces(_files(photos, read), engine)
    return add_faces(gallery, name, found, _adding(engine, tolerance))


def enrol_in(
    location: GalleryLocation,
    name: str,
    photos: Iterable[Path],
    engine: FaceEngine,
    read: ReadPhoto,
    tolerance: float,
    *,
    cut_out: CutOut | None = None,
    who: str = "",
) -> Enrolment:
    """Enrol one person from files.

    With `cut_out`, small pictures of the faces are stored beside the gallery. Raises as `enrol` and
    `load_for_change` do.
    """
    found = find_faces(_files(photos, read), engine, cut_out)
    return _store_one(location, checked_name(name), found, engine, _adding(engine, tolerance, who))


def enrol_photos(
    location: GalleryLocation,
    name: str,
    photos: Sequence[tuple[str, bytes]],
    engine: FaceEngine,
    tolerance: float,
    *,
    cut_out: CutOut | None = None,
    who: str = "",
) -> Enrolment:
    """Enrol one person from uploaded photos, pairs of file name and content.

    Raises GalleryError for a name that is not allowed or that looks like another name in the
    gallery, and TransientError. `Enrolment.outcomes` says for each photo what became of it.
    """
    from rollcall.gallery.photos import decode_photo  # Pillow is slow to load

    name = checked_name(name)
    uploads = (
        Photo(file_name, partial(decode_photo, file_name, data)) for file_name, data in photos
    )
    found = find_faces(uploads, engine, cut_out)
    return _store_one(location, name, found, engine, _adding(engine, tolerance, who))


def enrol_people(
    location: GalleryLocation,
    people: Iterable[tuple[str, Sequence[Photo]]],
    engine: FaceEngine,
    tolerance: float,
    *,
    cut_out: CutOut | None = None,
    who: str = "",
) -> Iterator[Enrolment]:
    """Enrol many people, and yield each when it is stored.

    A person whose name is refused has one outcome of the kind `bad name`.
    """
    adding = _adding(engine, tolerance, who)
    waiting: list[FoundPerson] = []
    for name, photos in people:
        waiting.append((name, find_faces(photos, engine, cut_out)))
        if len(waiting) == PEOPLE_AT_ONCE:
            yield from _store(location, waiting, engine, adding)
            waiting = []
    if waiting:
        yield from _store(location, waiting, engine, adding)


def _files(photos: Iterable[Path], read: ReadPhoto) -> Iterator[Photo]:
    return (Photo(str(photo), partial(read, photo)) for photo in photos)


def _adding(engine: FaceEngine, tolerance: float, who: str = "") -> Adding:
    return Adding(tolerance, engine.space.same_face_distance, who, time.time())


def _store_one(
    location: GalleryLocation,
    name: str,
    found: Sequence[PhotoFace | PhotoOutcome],
    engine: FaceEngine,
    adding: Adding,
) -> Enrolment:
    (enrolment,) = _store(location, [(name, found)], engine, adding, raise_for_names=True)
    return enrolment


def _store(
    location: GalleryLocation,
    people: Sequence[FoundPerson],
    engine: FaceEngine,
    adding: Adding,
    *,
    raise_for_names: bool = False,
) -> list[Enrolment]:
    """Add the faces to the newest gallery.

    Finding faces takes seconds, so it was done once and without a lock. The faces are compared with
    the gallery inside `change`, which may run several times, each time on the newest bytes.
    """
    pictures, written = _pictures(people), set[str]()
    done: list[Enrolment] = []

    def change(body: bytes | None) -> bytes | None:
        gallery = check_space(location, parse_for_change(location, body), engine.space)
        done.clear()
        for name, found in people:
            try:
                done.append(add_faces(gallery, name, found, adding))
            except NameRefused as error:
                if raise_for_names:
                    raise
                refused = PhotoOutcome(name, False, "bad name", str(error))
                done.append(Enrolment(name, gallery, (refused,)))
            gallery = done[-1].gallery
        # One gallery for all of them: keeping each step would need a lot of memory.
        done[:] = [replace(each, gallery=gallery) for each in done]
        added = _added_ids(done)
        new = {each: pictures[each] for each in pictures.keys() & added}
        written.update(new)
        write_pictures(location, new)  # again in every run: a removal may have deleted them
        return render_gallery(gallery) if added else None

    kept: set[str] = set()
    try:
        location.update(change)
        kept = _added_ids(done)
    finally:
        # Pictures of faces that are not in the gallery are deleted, also after an error. Another
        # command may have been faster, so that a face was added in one run of `change` and not in
        # the last.
        delete_pictures(location, written - kept)
    return done


def _pictures(people: Iterable[FoundPerson]) -> dict[str, bytes]:
    faces = (face for _, found in people for face in found if isinstance(face, PhotoFace))
    return {face.example_id: face.jpeg for face in faces if face.jpeg}


def _added_ids(enrolments: Iterable[Enrolment]) -> set[str]:
    return {o.example_id for each in enrolments for o in each.outcomes if o.example_id}


def save(gallery: Gallery, location: GalleryLocation) -> None:
    """Write the gallery, whatever the location holds now."""
    location.save(render_gallery(gallery))


def convert_gallery(old: GalleryFile, new: GalleryFile, *, replace_other: bool = False) -> Gallery:
    """Write the gallery of `old` to `new` in the native format. Both may be the same file.

    Raises GalleryError if `old` cannot be read, or if `new` holds something else and
    `replace_other` is False.
    """
    same = old.path.resolve() == new.path.resolve()
    converted: list[Gallery] = []

    def change(body: bytes | None) -> bytes | None:
        gallery = parse_gallery_at(old, body if same and body is not None else old.load())
        converted.append(gallery)
        if not same and not replace_other and body is not None and _differs(new, body, gallery):
            raise GalleryError(
                f"{str(new)!r} exists and has other people or encodings; name a new file,"
                " or replace the file with --yes"
            )
        return render_gallery(gallery)

    new.update(change)
    return converted[-1]


def _differs(location: GalleryLocation, body: bytes, gallery: Gallery) -> bool:
    """Whether the bytes are another gallery, or not a gallery at all."""
    try:
        return parse_gallery_at(location, body).version != gallery.version
    except GalleryError:
        return True
