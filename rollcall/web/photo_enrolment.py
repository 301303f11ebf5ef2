"""Enrols uploaded photos of one person, and writes the log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rollcall.core.names import checked_new_name
from rollcall.core.tolerance import decision_for
from rollcall.core.types import Pixels
from rollcall.gallery.enrolment import Enrolment, enrol_in, load_for_change
from rollcall.gallery.gallery_locations import check_space
from rollcall.gallery.photos import parse_photo
from rollcall.web.parts import parts


class PhotoResult(NamedTuple):
    """What became of one photo."""

    photo: str
    status: str
    """`added`, `known` if the gallery had it already, or `refused`."""
    remarks: list[str]
    """Why it was refused, or what to look at."""


class PhotosResult(NamedTuple):
    """What became of the photos of one person. `change_id` is None if nothing was added."""

    name: str
    results: list[PhotoResult]
    change_id: int | None


def enrol_uploaded(name: str, photos: Mapping[str, bytes], who: str) -> PhotosResult:
    """Enrol the photos (bytes by file name), and write a line of the log that can be undone.

    Raises GalleryError, for example for a name that is not allowed.
    """
    engine, location = parts().engine(), parts().gallery
    known = check_space(location, load_for_change(location), engine.space)
    name = checked_new_name(name, known.people)
    tolerance = decision_for(known, parts().settings.tolerance, engine.space).tolerance

    def read(path: Path) -> Pixels:
        return parse_photo(photos[str(path)], str(path))

    done = enrol_in(location, name, [Path(each) for each in photos], engine, read, tolerance)
    parts().known.changed()
    results = [_result(each, done) for each in photos]
    if not done.added:
        return PhotosResult(name, results, None)
    added = done.gallery.examples_of(name)[-done.added :]
    change_id = parts().changes.record(
        who,
        "enrol",
        name,
        {"photos": done.added},
        {"examples": [example.id for example in added]},
    )
    return PhotosResult(name, results, change_id)


def _result(photo: str, done: Enrolment) -> PhotoResult:
    def about(sentences: list[str]) -> list[str]:
        return [each for each in sentences if repr(photo) in each]

    refused, notes = about(done.refused), about(done.notes)
    known = any("already has" in each for each in notes)
    status = "refused" if refused else "known" if known else "added"
    return PhotoResult(photo, status, [*refused, *about(done.warnings), *notes])
