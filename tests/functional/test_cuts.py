"""Cuts between two searched frames are found by comparing neighbouring decoded frames."""

from __future__ import annotations

import av
import numpy as np
import pytest

from rollcall.video.kept_frames import KeptFrames

FRAME_S = 0.04


def frame(brightness: int, pixel_format: str = "gray") -> av.VideoFrame:
    """Return a frame of 64 x 36 pixels that all have this brightness, 0 to 255."""
    kind, scale = (np.uint8, 1) if pixel_format == "gray" else (np.uint16, 4)
    pixels = np.full((36, 64), brightness * scale, kind)
    return av.VideoFrame.from_ndarray(pixels, format=pixel_format)


def kept(*brightness: int, pixel_format: str = "gray") -> KeptFrames:
    """Return frames of these brightnesses, one every tenth of a second."""
    frames = KeptFrames(FRAME_S, 1 << 20)
    for number, value in enumerate(brightness):
        frames.add(frame(value, pixel_format), number / 10)
    return frames


@pytest.mark.parametrize("pixel_format", ["gray", "gray10le"])
@pytest.mark.parametrize("first", [1, 4, 10])
def test_the_time_of_a_cut_is_that_of_the_first_frame_after_it(
    pixel_format: str, first: int
) -> None:
    frames = kept(*[40] * first, *[120] * (11 - first), pixel_format=pixel_format)
    assert frames.cut_between(0.0, 1.0) == first / 10


def test_no_time_is_given_if_there_are_two_cuts() -> None:
    assert kept(*[40] * 3, *[80] * 4, *[200] * 4).cut_between(0.0, 1.0) is None


@pytest.mark.parametrize("brightness", [[40] * 11, range(40, 150, 10), range(0, 250, 24), [40, 50]])
def test_a_fade_is_not_a_cut(brightness: list[int]) -> None:
    assert kept(*brightness).cut_between(0.0, 1.0) is None


def test_a_cut_is_found_even_if_the_first_frame_after_it_is_not_kept() -> None:
    frames = KeptFrames(FRAME_S, 1 << 20)
    for number in range(26):
        frames.add(frame(40 if number < 14 else 120), number * FRAME_S)
    assert frames.cut_between(0.0, 1.0) == 14 * FRAME_S


def test_a_cut_outside_the_two_times_does_not_count() -> None:
    frames = kept(*[40] * 3, *[120] * 8)
    assert frames.cut_between(0.3, 1.0) is None
    assert frames.cut_between(0.0, 0.2) is None
    assert KeptFrames(FRAME_S, 1 << 20).cut_between(0.0, 1.0) is None
