"""Enrols uploaded photos of one person, and writes the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rollcall.core.names import checked_new_name, with_known_case
from rollcall.core.tolerance import decision_for
from rollcall.gallery.enrolment import enrol_photos, load_for_change
from rollcall.gallery.gallery_locations import check_space
from rollcall.gallery.photo_outcomes import PhotoOutcome
from rollcall.web.parts import parts


class PhotosResult(NamedTuple):
    """The outcomes of the photos of one person. `change_id` is None if nothing was added."""

    name: str
    outcomes: tuple[PhotoOutcome, ...]
    change_id: int | None


def enrol_uploaded(name: str, photos: Mapping[str, bytes], who: str) -> PhotosResult:
    """Enrol the photos (bytes by file name), and write a line of the log that can be undone.

    Raises GalleryError, for example for a name that is not allowed.
    """
    engine, location, settings = parts().engine(), parts().gallery, parts().settings
    known = check_space(location, load_for_change(location), engine.space)
    # Before seconds are spent on the photos.
    name = checked_new_name(with_known_case(name, known.people), known.people)
    done = enrol_photos(
        location,
        name,
        list(photos.items()),
        engine,
        decision_for(known, settings.tolerance, engine.space).tolerance,
        cut_out=parts().face_jpeg if settings.keep_faces == "pictures" else None,
        who=who,
    )
    parts().known.changed()
    added = [each.example_id for each in done.outcomes if each.example_id]
    if not added:
        return PhotosResult(name, done.outcomes, None)
    details, undo = {"photos": len(added)}, {"examples": added}
    return PhotosResult(
        name, done.outcomes, parts().changes.record(who, "enrol", name, details, undo)
    )
