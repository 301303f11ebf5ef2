"""Texts about an enrolled photo: its source and its quality."""

from __future__ import annotations

from typing import NamedTuple

from rollcall.core.types import FaceQuality
from rollcall.core.verdicts import Example

GOOD_PX = 96
GOOD_SHARPNESS = 0.06
GOOD_TURN = 0.2
"""The limits of a good photo: a larger, sharper or straighter face is not nearer to the person
(`core/face_quality.py`)."""


class PhotoWords(NamedTuple):
    title: str
    words: str
    """The quality, or why the photo does not count; empty if there is nothing to say."""


def photo_words(example: Example, is_overruled: bool = False) -> PhotoWords:
    """The texts; `is_overruled` if a later correction gave the face to somebody else."""
    title = _title(example)
    if is_overruled:
        text = "a later correction says that this is somebody else, so it does not count"
        return PhotoWords(title, text)
    if example.quality:
        return PhotoWords(title, quality_words(example.quality))
    # Faces of videos were good enough to be judged, and their quality is not kept.
    return PhotoWords(title, "" if example.verdict else "quality unknown")


def quality_words(quality: FaceQuality) -> str:
    """The quality in words, for example `good` or `usable: small (64 px), turned slightly`."""
    remarks = []
    if quality.size_px < GOOD_PX:
        remarks.append(f"small ({quality.size_px} px)")
    if quality.sharpness < GOOD_SHARPNESS:
        remarks.append("slightly blurred")
    if quality.turn > GOOD_TURN:
        remarks.append("slightly turned away")
    return f"usable: {', '.join(remarks)}" if remarks else "good"


def _title(example: Example) -> str:
    source = example.source
    if source.photo:
        return source.photo
    if source.key:
        return f"from the video {source.key}"
    return "a photo without a file name"
