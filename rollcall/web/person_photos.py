"""The photos of a person in the gallery: enrolled ones, and faces of videos that got the name."""

from __future__ import annotations

from typing import NamedTuple

from rollcall.core.index_types import FaceRef
from rollcall.core.verdicts import Example
from rollcall.index.gallery_faces import videos_of_faces
from rollcall.index.people_queries import PersonRow
from rollcall.web.enrolled_faces import pictures_of_gallery
from rollcall.web.gallery_cache import KnownGallery
from rollcall.web.parts import parts
from rollcall.web.photo_words import photo_words

MAX_PHOTOS = 100
"""Photos of a person that are listed. Each verdict about an unknown group adds up to fifty."""


class PersonPhoto(NamedTuple):
    """An encoding of the gallery, as the page lists it."""

    example: Example
    title: str
    words: str
    """The quality, or what is wrong with the photo; empty if there is nothing to say."""
    has_picture: bool
    """Whether a picture is stored beside the gallery."""
    enrolled_without_picture: bool
    video_id: int | None
    """The video that the face comes from, if it is still in the index."""
    face: FaceRef | None
    """The person in this video, if the pictures of its faces are stored."""


class PersonPhotos(NamedTuple):
    photos: list[PersonPhoto]
    photo_count: int
    """All photos of the person; not more than MAX_PHOTOS are listed."""
    counting: int
    """Those that no later correction gave to somebody else."""


def photos_of(known: KnownGallery, row: PersonRow) -> PersonPhotos:
    gallery = known.gallery
    rows = [place for place, name in enumerate(gallery.names) if name == row.name]
    shown = [gallery.examples[place] for place in rows[:MAX_PHOTOS]]
    overruled = [gallery.is_overruled(place) for place in rows]
    kept = parts().settings.keep_faces == "pictures"
    stored = pictures_of_gallery(known)
    keys = {(each.source.bucket, each.source.key) for each in shown if each.source.key}
    videos = videos_of_faces(parts().database, sorted(keys), row.id)
    photos = []
    for example, is_overruled in zip(shown, overruled, strict=False):
        source = example.source
        video = videos.get((source.bucket, source.key, source.etag))
        photos.append(
            PersonPhoto(
                example,
                *photo_words(example, is_overruled),
                kept and example.id in stored,
                not example.verdict and example.id not in stored,
                video.video_id if video else None,
                video.face if video else None,
            )
        )
    return PersonPhotos(photos, len(rows), len(rows) - sum(overruled))
