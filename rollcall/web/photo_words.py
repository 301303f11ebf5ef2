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
    quality: str


def photo_words(example: Example) -> PhotoWords:
    return PhotoWords(_title(example), quality_words(example.quality) if example.quality else "")


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
