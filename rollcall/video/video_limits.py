"""Refuses videos that are longer, or whose frames are larger, than the settings allow."""

from __future__ import annotations

from rollcall.core.errors import VideoTooLarge, VideoTooLong
from rollcall.core.types import VideoLimits


def check_length(seconds: float, limits: VideoLimits) -> None:
    """Raise VideoTooLong for a length, or for a time of a frame, above MAX_VIDEO_S."""
    if seconds > limits.seconds:
        raise VideoTooLong(
            f"the video is at least {seconds:.1f} s long, and MAX_VIDEO_S is {limits.seconds:g} s"
        )


def check_pixels(width: int, height: int, limits: VideoLimits) -> None:
    """Raise VideoTooLarge for a frame of more than MAX_VIDEO_PX pixels.

    The size in the header is checked first, and then the size of every frame, because an MPEG
    stream may change its size at any picture.
    """
    if width * height > limits.pixels:
        raise VideoTooLarge(
            f"a frame has {width} x {height} pixels ({width * height} in all), and MAX_VIDEO_PX is"
            f" {limits.pixels}"
        )
