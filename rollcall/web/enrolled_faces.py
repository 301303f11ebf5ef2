"""The small pictures of enrolled faces, which are stored beside the gallery."""

from __future__ import annotations

import logging
from collections.abc import Collection

from flask import Blueprint, Response, abort, current_app, g, request

from rollcall.core.errors import GalleryError, TransientError
from rollcall.gallery.enrolled_pictures import read_picture, stored_pictures
from rollcall.web.gallery_cache import KnownGallery
from rollcall.web.parts import parts

log = logging.getLogger(__name__)

pages = Blueprint("enrolled_faces", __name__)

_LISTED = "rollcall-listed-pictures"
_FAILED = "listing_pictures_failed"


@pages.get("/people/photos/<example_id>.jpg")
def picture(example_id: str) -> Response:
    """The picture of an encoding of the gallery; 404 if none is stored."""
    body = read_picture(parts().gallery, example_id)
    if body is None:
        abort(404)
    response = Response(body, mimetype="image/jpeg")
    response.set_etag(example_id)
    # Asked for each time, so that the picture of a forgotten person is gone at once.
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response


def example_with_picture(known: KnownGallery, name: str) -> str:
    """The id of the first example with a picture; empty if there is none."""
    if parts().settings.keep_faces != "pictures":
        return ""
    stored = pictures_of_gallery(known)
    return next((each.id for each in known.gallery.examples_of(name) if each.id in stored), "")


def pictures_of_gallery(known: KnownGallery) -> Collection[str]:
    """The ids of the examples with a picture, listed once for each version of the gallery.

    Pictures are written and deleted before the gallery is, so the list stays true for a version. If
    they cannot be listed, this page shows none, and the next page tries again.
    """
    seen: tuple[KnownGallery, Collection[str]] | None = current_app.extensions.get(_LISTED)
    if seen is not None and seen[0] is known:
        return seen[1]
    if _FAILED in g:
        return ()
    try:
        found = stored_pictures(parts().gallery)
    except (GalleryError, TransientError) as error:
        log.warning("the pictures of enrolled faces cannot be listed: %s", error)
        setattr(g, _FAILED, True)
        return ()
    current_app.extensions[_LISTED] = known, found
    return found
