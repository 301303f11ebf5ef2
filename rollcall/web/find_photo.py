"""Find a person by a photo: everyone in all videos who looks like the face in it.

The photo is read from the request, and nothing of it is stored.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from flask import Blueprint, render_template, request

from rollcall.core.errors import PhotoError
from rollcall.core.types import Pixels
from rollcall.gallery.photos import decode_photo
from rollcall.index.find_faces import PhotoFace, faces_of_photo, find_by_photo
from rollcall.index.people_queries import PeopleQueries
from rollcall.web.near_people import near_people
from rollcall.web.parts import parts
from rollcall.web.request_values import whole_number
from rollcall.web.uploads import limit_body, uploaded

pages = Blueprint("find_photo", __name__)

MAX_BYTES = 16 << 20
"""Longest photo."""

MAX_FACES = 20
"""Faces of a photo to choose from."""

MAX_FOUND = 100
NEAREST = 3


class FaceOfPhoto(NamedTuple):
    """A face in the photo. `picture` is a data URL, so that nothing has to be stored."""

    picture: str
    problem: str


@pages.url_value_preprocessor
def _limit(endpoint: str | None, values: dict[str, Any] | None) -> None:
    # This runs before the check of the form's token, which reads the whole form.
    limit_body(MAX_BYTES + (1 << 16))


@pages.get("/find")
def form() -> str:
    """The form."""
    return render_template("find.html", stored=parts().faces.count(), **_common())


@pages.post("/find")
def find() -> str:
    """The results; for htmx, without the form."""
    ((name, data),) = uploaded("photo", 1, MAX_BYTES).items()
    values = {"name": name, **_results(name, data), **_common()}
    if request.headers.get("HX-Request"):
        return render_template("find_results.html", **values)
    return render_template("find.html", results=True, stored=parts().faces.count(), **values)


def _results(name: str, data: bytes) -> dict[str, Any]:
    engine = parts().engine()
    photo = faces_of_photo(decode_photo(name, data), engine)
    given = request.form.get("face", type=whole_number)
    values = {"faces": [_shown(photo.pixels, each) for each in photo.faces[:MAX_FACES]]}
    try:
        found = find_by_photo(
            photo, engine, parts().faces, parts().database, face=given, limit=MAX_FOUND
        )
    except PhotoError as error:  # a sentence without its subject
        return {**values, "chosen": given, "problem": str(error)}
    known = parts().known.current()
    (face,) = photo.faces[found.chosen : found.chosen + 1]
    encodings = engine.encode(photo.pixels, [face.detected])
    fits = known.gallery.space == engine.space.name
    near = known.nearest(encodings, NEAREST) if fits else []
    near = [each for each in near if each.distance <= engine.space.tolerance]
    return {
        **values,
        "chosen": found.chosen,
        "found": found,
        "near": near_people(PeopleQueries(parts().database), known, near),
    }


def _common() -> dict[str, Any]:
    return {"max_mb": MAX_BYTES >> 20, "keep_faces": parts().settings.keep_faces}


def _shown(pixels: Pixels, face: PhotoFace) -> FaceOfPhoto:
    picture = base64.b64encode(parts().face_jpeg(pixels, face.detected.box)).decode()
    return FaceOfPhoto(f"data:image/jpeg;base64,{picture}", face.problem)
