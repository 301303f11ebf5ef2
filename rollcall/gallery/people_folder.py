"""Reads a folder with one folder of photos for each person, whose name is the person's name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rollcall.core.errors import GalleryError

MAX_PEOPLE = 10_000
MAX_PHOTOS = 100
"""Largest number of photos for one person. More than a dozen rarely help."""

DROPPINGS = frozenset({"__macosx", "thumbs.db", "desktop.ini", "icon\r"})
"""Files and folders, in lower case, that macOS and Windows add by themselves. Others begin with a
dot (.DS_Store and `._name`)."""

PHOTO_EXTENSIONS = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jpx",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""Extensions of files that are taken for photos, as are files without an extension. Photos in HEIC
cannot be read, and their message says what to do."""


@dataclass(frozen=True, slots=True)
class PeopleFolder:
    """The people in a folder, and sentences about what was skipped in it."""

    people: list[tuple[str, list[Path]]] = field(default_factory=list)
    """Names, and the photos of each; sorted."""
    skipped: list[str] = field(default_factory=list)


def read_people_folder(folder: Path) -> PeopleFolder:
    """List the people in a folder.

    Raises GalleryError if it cannot be read, or holds too many people or photos.
    """
    found = PeopleFolder()
    for entry in _entries(folder):
        if not entry.is_dir():
            found.skipped.append(
                f"{str(entry)!r} was skipped; put it into a folder with the person's name"
            )
            continue
        photos = []
        for each in _entries(entry):
            if each.is_dir():
                found.skipped.append(f"{str(each)!r} was skipped, because it is a folder")
            elif not _may_be_photo(each):
                found.skipped.append(f"{str(each)!r} was skipped, because it is not a photo")
            else:
                photos.append(each)
        if len(photos) > MAX_PHOTOS:
            raise GalleryError(
                f"{str(entry)!r} has {len(photos)} photos, and at most {MAX_PHOTOS} are allowed;"
                " keep the best ones"
            )
        if not photos:
            found.skipped.append(f"{str(entry)!r} has no photos")
            continue
        found.people.append((entry.name, photos))
        if len(found.people) > MAX_PEOPLE:
            raise GalleryError(
                f"{str(folder)!r} has more than {MAX_PEOPLE} people; enrol them in several parts"
            )
    return found


def _may_be_photo(path: Path) -> bool:
    # Reading a named pipe would wait for ever. A broken link is tried, and its error is shown.
    is_readable = path.is_file() or not path.exists()
    return is_readable and (not path.suffix or path.suffix.lower() in PHOTO_EXTENSIONS)


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what a person put into the folder, sorted by name."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise GalleryError(
            f"the folder {str(folder)!r} cannot be read: {error.strerror}"
        ) from error
    for entry in entries:
        if not entry.name.startswith(".") and entry.name.lower() not in DROPPINGS:
            yield entry
