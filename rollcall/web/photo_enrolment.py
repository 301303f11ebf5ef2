"""Enrols uploaded photos of one person, and writes the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from rollcall.core.similar_names import close_names
from rollcall.core.tolerance import decision_for
from rollcall.gallery.enrolment import enrol_photos, load_for_change
from rollcall.gallery.gallery_locations import check_space
from rollcall.gallery.photo_outcomes import PhotoOutcome
from rollcall.web.parts import parts
from rollcall.web.typed_names import name_among


class PhotosResult(NamedTuple):
    """The outcomes of the photos of one person. `change_id` is None if nothing was added."""

    name: str
    outcomes: tuple[PhotoOutcome, ...]
    change_id: int | None
    close: tuple[str, ...] = ()
    """People of the gallery whose names are close to the name of this new person."""


def enrol_uploaded(
    name: str, photos: Mapping[str, bytes], who: str, *, ask: bool = True
) -> PhotosResult:
    """Enrol the photos (bytes by file name), and write a line of the log that can be undone.

    Raises GalleryError, for example for a name that is not allowed. With `ask`, raises NameInDoubt
    for a new name that is close to a known one.
    """
    engine, location, settings = parts().engine(), parts().gallery, parts().settings
    known = check_space(location, load_for_change(location), engine.space)
    # Before seconds are spent on the photos.
    name = name_among(name, known.people, ask=ask)
    close = () if name in known.people else tuple(close_names(name, known.people))
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
    change_id = parts().changes.record(who, "enrol", name, details, undo)
    return PhotosResult(name, done.outcomes, change_id, close)
