"""Parses the answers of the decoder's child without trusting them.

A hostile video may have taken over the child. So every number is checked before it is used as an
offset, a size or a time. For an answer that an intact child never gives, the parsers raise
KeyError, OverflowError, TypeError or ValueError, and `Decoder` then ends the child.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from rollcall.core.errors import NotAVideo, VideoTooLarge, VideoTooLong
from rollcall.video.wire import ALL_SLOTS, SLOTS, Message

MAX_TRACKS = 10_000
"""Far above FFmpeg's own limit of 1000 streams in a file."""

MAX_ERROR_CHARACTERS = 500


class VideoFacts(NamedTuple):
    """The child's description of the open video.

    `slots` is the number of frames that the child may decode ahead.
    """

    duration_s: float
    moving_s: float
    track: int
    tracks: int
    divisible: bool
    slots: int


class FrameSlot(NamedTuple):
    """The slot of the shared memory that holds a frame, and the frame's time and size."""

    time_s: float
    slot: int
    height: int
    width: int


def parse_facts(message: Message) -> VideoFacts:
    """Parse the answer to `open`."""
    duration_s, moving_s, track, tracks, divisible, slots = message["video"]
    seconds = (float(duration_s), float(moving_s))
    facts = VideoFacts(*seconds, int(track), int(tracks), bool(divisible), int(slots))
    is_finite = math.isfinite(facts.duration_s + facts.moving_s)
    is_numbered = 1 <= facts.track <= facts.tracks <= MAX_TRACKS
    if not (is_finite and is_numbered and 1 <= facts.slots <= SLOTS):
        raise ValueError("it sent facts that no video has")
    return facts


def parse_frame(message: Message, max_px: int) -> FrameSlot:
    """Parse the answer to `next` or `kept`: a frame of at most `max_px` pixels."""
    slot, height, width = (int(message[name]) for name in ("slot", "height", "width"))
    time_s = float(message["frame"])
    fits = 0 <= slot < ALL_SLOTS and height > 0 < width and math.isfinite(time_s)
    if not fits or height * width > max_px:
        raise ValueError("it sent a picture that does not fit")
    return FrameSlot(time_s, slot, height, width)


def parse_lengths(value: object) -> tuple[float, float]:
    """Parse two numbers of seconds."""
    if isinstance(value, list) and len(value) == 2:
        return parse_seconds(value[0]), parse_seconds(value[1])
    raise ValueError("it sent lengths that are not two numbers")


def parse_seconds(value: object) -> float:
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    raise ValueError("it sent a time that is not a number")


def refusal_of(message: Message) -> NotAVideo | VideoTooLarge | VideoTooLong:
    """Return the exception for the error that the child sent."""
    code, text = message["error"], str(message.get("message", ""))[:MAX_ERROR_CHARACTERS]
    if code == "memory":
        return VideoTooLarge(
            "decoding the video needs too much memory; convert it to H.264 with smaller frames"
        )
    if code == VideoTooLong.code:
        return VideoTooLong(text)
    return VideoTooLarge(text) if code == VideoTooLarge.code else NotAVideo(text)
