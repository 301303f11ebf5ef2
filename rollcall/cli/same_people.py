"""Joins groups of unknown faces as the *same* verdicts of the gallery say."""

from __future__ import annotations

import logging

from rollcall.core.errors import GalleryMissing, PermanentError
from rollcall.core.settings import Settings
from rollcall.database.database import Database

log = logging.getLogger(__name__)


def join_same_people(database: Database, chosen: Settings) -> None:
    """Join the groups of unknown faces that show one person according to *same* verdicts, and take
    those apart whose verdict is gone.

    The caller also does this if there are no groups, because faces of later videos join the groups
    of the verdicts. No person may be removed while this function runs.
    """
    # Imported here, because numpy is slow to load.
    from rollcall.gallery.gallery_locations import read_gallery
    from rollcall.index.unknown_groups import SqlUnknownGroups
    from rollcall.wiring import build_gallery_location, space_of

    try:
        gallery = read_gallery(build_gallery_location(chosen))
    except GalleryMissing:  # there is no gallery yet, so there are no verdicts
        return
    except PermanentError as error:
        log.warning(
            "no verdicts join groups of unknown faces, because the gallery cannot be read: %s",
            error,
        )
        return
    same = [each.encodings for each in gallery.verdicts if each.kind == "same"]
    SqlUnknownGroups(database, space_of(chosen)).set_same(same)
