"""Enrols uploaded photos of one person, and writes the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rollcall.core.names import checked_new_name
from rollcall.core.tolerance import decision_for
from rollcall.gallery.enrolment import enrol_photos, load_for_change
from rollcall.gallery.gallery_locations import check_space
from rollcall.gallery.photo_outcomes import PhotoOutcome
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
    tolerance = decision_for(known, parts().settings.tolerance, engine.space).tolerance
    done = enrol_photos(
        location,
        checked_new_name(name, known.people),
        list(photos.items()),
        engine,
        tolerance,
        cut_out=parts().cut_out,
        who=who,
    )
    parts().known.changed()
    results = [_result(each) for each in done.outcomes]
    if not done.added:
        return PhotosResult(done.name, results, None)
    added = [each.example_id for each in done.outcomes if each.example_id]
    changes = parts().changes
    change_id = changes.record(who, "enrol", done.name, {"photos": done.added}, {"examples": added})
    return PhotosResult(done.name, results, change_id)


def _result(outcome: PhotoOutcome) -> PhotoResult:
    status = "added" if outcome.example_id else "known" if outcome.ok else "refused"
    remarks = filter(None, (outcome.sentence, outcome.warning))
    return PhotoResult(outcome.photo, status, list(remarks))
