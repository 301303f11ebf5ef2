"""The small pictures of enrolled faces, which are stored beside the gallery."""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from rollcall.gallery.enrolled_pictures import read_picture
from rollcall.web.gallery_cache import KnownGallery
from rollcall.web.parts import parts

pages = Blueprint("enrolled_faces", __name__)


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
    """The id of the example that may have a picture; empty if pictures are not stored."""
    if parts().settings.keep_faces != "pictures":
        return ""
    examples = known.gallery.examples_of(name)
    enrolled = (each.id for each in examples if each.id and each.quality is not None)
    return next(enrolled, "")
