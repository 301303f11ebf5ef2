"""Stored faces of videos that were never filmed, with the encodings of painted faces."""

from __future__ import annotations

import numpy as np

from rollcall.core.decision import DecisionRule
from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery
from rollcall.core.types import Box, Face, FaceQuality, Recognition, Sighting
from rollcall.faces.painted_faces import PaintedFaces
from rollcall.recognition.deciding import SearchFacts, decide
from rollcall.recognition.stored_faces import render_faces, stored_faces

QUALITY = FaceQuality(120, 0.2, 0.1, 0.99)


def recognised_colours(gallery: Gallery, *looks: str) -> Recognition:
    """Recognise a video with one look a second, such as `("red blue", "red")`."""
    sightings = []
    for number, colours in enumerate(looks):
        for place, colour in enumerate(colours.split()):
            encoding = PaintedFaces.encoding(colour)
            face = Face(
                Box(0, 50 * place + 40, 40, 50 * place), np.zeros((5, 2)), QUALITY, encoding
            )
            sightings.append(Sighting(float(number), face, gallery.nearest(encoding[None])[0]))
    facts = SearchFacts(
        tuple(map(float, range(len(looks)))), (), float(len(looks)), len(looks), 1, 1, 1, None
    )
    return decide(tuple(sightings), DecisionRule(DLIB, 0.6), facts)


def faces_body(gallery: Gallery, *looks: str, etag: str = "etag") -> bytes:
    """The stored faces of such a video, as `<key>.faces.npz` has them."""
    return render_faces(stored_faces(recognised_colours(gallery, *looks), etag, DLIB))
