"""Small pictures of enrolled faces, beside the gallery (KEEP_FACES=pictures).

A picture is `<gallery>.faces/<example id>.jpg`, a file that only its owner can read, or an object.
Pictures are written before the gallery that has their examples, and deleted before it no longer
has them. Only the undo of an enrolment deletes them later, because it may fail. So a picture
without an example belongs to a photo that was removed on the page and may come back by an undo, or
to a command that is running or was killed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from rollcall.atomic_files import replace_file
from rollcall.core.errors import GalleryError, ObjectNotFound, ObjectTooLarge
from rollcall.core.protocols import GalleryLocation
from rollcall.core.verdicts import ID_FORM
from rollcall.gallery.gallery_locations import GalleryFile, GalleryObject
from rollcall.gallery.gallery_objects import delete_all_versions

FOLDER_SUFFIX = ".faces"
SUFFIX = ".jpg"
CONTENT_TYPE = "image/jpeg"
MAX_PICTURE_BYTES = 64 << 10


def pictures_of(location: GalleryLocation) -> str:
    """Where the pictures of this gallery are, for messages."""
    return f"{location}{FOLDER_SUFFIX}"


def write_pictures(location: GalleryLocation, pictures: Mapping[str, bytes]) -> None:
    """Store pictures by the ids of their examples. Raises GalleryError or a TransientError."""
    match location:
        case GalleryFile():
            for example_id, jpeg in pictures.items():
                _write_file(location, example_id, jpeg)
        case GalleryObject():
            for example_id, jpeg in pictures.items():
                key = _key(location, example_id)
                location.store.write(location.bucket, key, jpeg, CONTENT_TYPE, {})


def read_picture(location: GalleryLocation, example_id: str) -> bytes | None:
    """The picture of an enrolled face; None if none is stored. Raises a TransientError."""
    if not ID_FORM.fullmatch(example_id):
        return None
    try:
        match location:
            case GalleryFile():
                with open(_path(location, example_id), "rb") as file:
                    return file.read(MAX_PICTURE_BYTES)
            case GalleryObject():
                key = _key(location, example_id)
                return location.store.read(location.bucket, key, MAX_PICTURE_BYTES)
    except (OSError, ObjectNotFound, ObjectTooLarge):
        return None
    return None


def delete_pictures(location: GalleryLocation, example_ids: Collection[str]) -> int:
    """Delete the pictures of these examples for good. Returns how many there were.

    Raises GalleryError or a TransientError.
    """
    if not example_ids:
        return 0
    found = stored_pictures(location)
    deleted = [example_id for example_id in example_ids if example_id in found]
    for example_id in deleted:
        _delete(location, example_id)
    return len(deleted)


def stored_pictures(location: GalleryLocation) -> set[str]:
    """The ids of all examples with a picture."""
    match location:
        case GalleryFile():
            found = {path.name.removesuffix(SUFFIX) for path in _pictures_in(_folder(location))}
        case GalleryObject():
            prefix = _key(location, "").removesuffix(SUFFIX)
            listed = location.store.list_objects(location.bucket, prefix)
            versions = location.store.old_versions(location.bucket, prefix)
            found = {
                info.key.removeprefix(prefix).removesuffix(SUFFIX)
                for info in (*versions, *listed)
                if info.key.endswith(SUFFIX)
            }
        case _:
            return set()
    return {each for each in found if ID_FORM.fullmatch(each)}


def _pictures_in(folder: Path) -> list[Path]:
    try:
        return list(folder.glob(f"*{SUFFIX}"))
    except OSError as error:
        raise GalleryError(f"{str(folder)!r} cannot be read: {error}") from error


def _delete(location: GalleryLocation, example_id: str) -> None:
    match location:
        case GalleryFile():
            path = _path(location, example_id)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise GalleryError(f"{str(path)!r} cannot be deleted: {error}") from error
            with suppress(OSError):  # not empty
                path.parent.rmdir()
        case GalleryObject():
            delete_all_versions(location.store, location.bucket, _key(location, example_id))


def _write_file(location: GalleryFile, example_id: str, jpeg: bytes) -> None:
    path = _path(location, example_id)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        _give_to_owner_of_gallery(path.parent, location)
        replace_file(path, jpeg, durable=False)
        _give_to_owner_of_gallery(path, location)
    except OSError as error:
        raise GalleryError(
            f"{str(path)!r} cannot be written: {error}; check the folder's permissions, or set"
            " KEEP_FACES=encodings"
        ) from error


def _give_to_owner_of_gallery(path: Path, location: GalleryFile) -> None:
    """Let the process that reads the gallery read the picture too, after root has enrolled."""
    with suppress(OSError):  # only root may do that; and there may be no gallery yet
        status = location.path.stat()
        os.chown(path, status.st_uid, status.st_gid)


def _folder(location: GalleryFile) -> Path:
    path = location.path.resolve()
    return path.with_name(path.name + FOLDER_SUFFIX)


def _path(location: GalleryFile, example_id: str) -> Path:
    return _folder(location) / f"{example_id}{SUFFIX}"


def _key(location: GalleryObject, example_id: str) -> str:
    return f"{location.key}{FOLDER_SUFFIX}/{example_id}{SUFFIX}"
