"""Pictures are collected during a search, and never make it fail."""

from __future__ import annotations

import numpy as np
import pytest

from rollcall.core import voting
from rollcall.core.encoding_space import DLIB
from rollcall.core.types import Box, Face, FaceQuality, Pixels, Sighting
from rollcall.core.voting import tracks_of
from rollcall.recognition import picture_book
from rollcall.recognition.picture_book import PictureBook

PIXELS: Pixels = np.zeros((9, 9, 3), np.uint8)


def sighting(time_s: float, place: float, *, good: bool = False) -> Sighting:
    """A look at a face whose encoding has moved this far."""
    encoding = np.zeros(DLIB.size)
    encoding[0] = place
    quality = FaceQuality(96 if good else 48, 0.1, 0.0, 0.9)
    return Sighting(time_s, Face(Box(0, 9, 9, 0), np.zeros((5, 2)), quality, encoding, ""), None)


def test_fewer_pictures_never_make_too_many_tracks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face that changes slowly is one track, but its few best looks may not be alike."""
    monkeypatch.setattr(picture_book, "MAX_COLLECTED", 3)
    monkeypatch.setattr(picture_book, "MAX_PICTURES", 2)
    monkeypatch.setattr(voting, "MAX_TRACKS", 1)
    looks = [
        *(sighting(0, 0.0, good=True), sighting(1, 0.4)),
        *(sighting(2, 0.6), sighting(3, 0.75, good=True)),
        *(sighting(4, 0.5), sighting(5, 0.5), sighting(6, 0.5)),
    ]
    assert len(tracks_of(looks, DLIB.same_face_distance)) == 1
    book = PictureBook(lambda pixels, box: b"jpeg", DLIB.same_face_distance)
    for look in looks:
        book.add(PIXELS, look)
    assert len(book._cuts) <= 3
