"""Adding people to a gallery."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from rollcall.core.errors import GalleryError, PhotoError
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.gallery_formats import is_native, render_gallery
from rollcall.core.names import checked_name
from rollcall.core.seams import FaceEngine
from rollcall.core.types import Encodings, Pixels
from rollcall.galleries import GalleryPlace, gallery_of

ReadPhoto = Callable[[Path], Pixels]


def load_for_change(place: GalleryPlace) -> Gallery:
    """The gallery of a place, or an empty one where there is none yet.

    Raises GalleryError for the course's pickle: it is only read, never written.
    """
    try:
        place.stamp()
    except GalleryError:
        return empty_gallery()
    body = place.load()
    if not is_native(body):
        raise GalleryError(
            f"the gallery {place} is a pickle, which is only read;"
            " make it native first: rollcall gallery convert OLD NEW.npz"
        )
    return gallery_of(place, body)


def enrol(
    gallery: Gallery, name: str, photos: Iterable[Path], engine: FaceEngine, read: ReadPhoto
) -> Gallery:
    """The gallery with one more encoding per photo: all photos, or an error and none."""
    name = checked_name(name)
    for photo in photos:
        gallery = gallery.with_face(name, _only_face(photo, engine, read))
    return gallery


def lookalikes(gallery: Gallery, name: str, tolerance: float) -> list[str]:
    """Other people of the gallery whom this one could be taken for."""
    own = gallery.encodings[[index for index, each in enumerate(gallery.names) if each == name]]
    others = [index for index, each in enumerate(gallery.names) if each != name]
    distances = np.linalg.norm(own[:, None] - gallery.encodings[others][None], axis=2)
    near = (distances <= tolerance).any(axis=0)
    return sorted({gallery.names[others[column]] for column in np.flatnonzero(near)})


def save(gallery: Gallery, place: GalleryPlace) -> None:
    place.save(render_gallery(gallery))


def _only_face(photo: Path, engine: FaceEngine, read: ReadPhoto) -> Encodings:
    faces = engine.faces(read(photo), thorough=True)
    if len(faces) != 1:
        found = "no face was" if not faces else f"{len(faces)} faces were"
        raise PhotoError(f"{found} found in {str(photo)!r}; enrol from a photo of one person")
    return faces[0].encoding
