"""Find a person by a photo: everyone in all videos who looks like the face in it.

The photo is read from the request, and nothing of it is stored.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import numpy as np
from flask import Blueprint, render_template, request

from rollcall.core.face_quality import measure, why_not_judged
from rollcall.core.types import DetectedFace, Pixels
from rollcall.gallery.photos import decode_photo, face_picture
from rollcall.index.face_queries import FaceQueries, SeenFace
from rollcall.index.people_queries import PeopleQueries
from rollcall.web.near_people import distance_words, near_people
from rollcall.web.parts import parts
from rollcall.web.uploads import limit_body, uploaded

pages = Blueprint("find_photo", __name__)

MAX_BYTES = 16 << 20
"""Longest photo."""

MAX_FACES = 20
"""Faces of a photo to choose from."""

MAX_FOUND = 100
NEAREST = 3


class FoundInVideo(NamedTuple):
    """A face of a video that is like the one in the photo."""

    face: SeenFace
    distance: float
    words: str


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
    pixels = decode_photo(name, data)
    values = {"name": name, **_results(pixels), **_common()}
    if request.headers.get("HX-Request"):
        return render_template("find_results.html", **values)
    return render_template("find.html", results=True, stored=parts().faces.count(), **values)


def _results(pixels: Pixels) -> dict[str, Any]:
    faces = parts().engine().detect(pixels)[:MAX_FACES]
    if not faces:
        return {"has_face": False}
    chosen = min(max(request.form.get("face", 0, type=int), 0), len(faces) - 1)
    return {
        "has_face": True,
        "faces": [_shown(pixels, face) for face in faces] if len(faces) > 1 else [],
        "chosen": chosen,
        "problem": _problem(pixels, faces[chosen]),
        **_matches(pixels, faces[chosen]),
    }


def _common() -> dict[str, Any]:
    return {"max_mb": MAX_BYTES >> 20, "keep_faces": parts().settings.keep_faces}


def _matches(pixels: Pixels, face: DetectedFace) -> dict[str, Any]:
    engine = parts().engine()
    space, encodings = engine.space, engine.encode(pixels, [face])
    found = parts().faces.find(encodings, space.name, space.tolerance, MAX_FOUND)
    seen = FaceQueries(parts().database).faces([each.face for each in found])
    known = parts().known.current()
    fits = (known.gallery.space, known.gallery.encodings.shape[1]) == (space.name, space.size)
    near = known.nearest(np.asarray(encodings), NEAREST) if fits else []
    people = PeopleQueries(parts().database)
    return {
        "found": [
            FoundInVideo(seen[each.face], each.distance, distance_words(each.distance))
            for each in found
            if each.face in seen
        ],
        "more": len(found) == MAX_FOUND,
        "near": near_people(people, [each for each in near if each.distance <= space.tolerance]),
    }


def _shown(pixels: Pixels, face: DetectedFace) -> FaceOfPhoto:
    picture = base64.b64encode(face_picture(pixels, face.box)).decode()
    return FaceOfPhoto(f"data:image/jpeg;base64,{picture}", _problem(pixels, face))


def _problem(pixels: Pixels, face: DetectedFace) -> str:
    return why_not_judged(measure(pixels, face.box, face.landmarks, face.score))
