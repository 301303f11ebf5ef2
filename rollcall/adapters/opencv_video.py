"""Frames of a video file, by OpenCV's FFmpeg."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rollcall.core.containers import HEAD_BYTES, container_of
from rollcall.core.errors import NotAVideo, VideoTooLarge
from rollcall.core.types import Frame

SEEK_FROM_S = 10.0
"""A step longer than this seeks; a shorter one decodes on. Key frames lie up to 10 s apart, so a
seek over less may decode more than it skips."""

FALLBACK_FPS = 25.0
"""For a container that tells no rate, or an absurd one."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Beyond them a video is refused."""

    seconds: float
    pixels: int


@contextmanager
def open_video(path: Path, limits: VideoLimits) -> Iterator[OpenCvVideo]:
    """The video in a file, whose name means nothing: its first bytes decide.

    Raises NotAVideo or VideoTooLarge.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
    if container_of(head) is None:
        kind = "empty" if not head else "no video container (MP4, MKV, AVI, ...)"
        raise NotAVideo(f"the file is {kind}; check that the upload was complete")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        yield OpenCvVideo(capture, limits)
    finally:
        capture.release()


class OpenCvVideo:
    """Implements `rollcall.core.types.Video`. OpenCV turns frames upright by their tag."""

    def __init__(self, capture: cv2.VideoCapture, limits: VideoLimits) -> None:
        if not capture.isOpened():
            raise NotAVideo("the video cannot be opened: its index is damaged or cut off")
        self._capture = capture
        self._limits = limits
        self.width_px = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height_px = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._fps = self._rate()
        self._last_s = -1.0
        self.duration_s = self._duration_s()
        self._check_size()

    def frames(self, step_s: float) -> Iterator[Frame]:
        """The first frame, then one every `step_s` seconds.

        Raises NotAVideo when not even the first frame can be decoded. A video that is cut off
        ends with its last good frame.
        """
        index, stride = 0, max(1, round(step_s * self._fps))
        while (frame := self._read(index)) is not None:
            self._check_length(frame.time_s)
            yield frame
            if not self._skip(index, stride):
                break
            index += stride
        if index == 0 and frame is None:
            raise NotAVideo("no frame of the video can be decoded")

    def _read(self, index: int) -> Frame | None:
        ok, bgr = self._capture.read()
        if not ok or bgr is None:
            return None
        pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return Frame(self._time_s(index), np.ascontiguousarray(pixels, dtype=np.uint8))

    def _time_s(self, index: int) -> float:
        """The frame's own time stamp, which a variable rate needs; it never runs backwards."""
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        time_s = stamp_s if math.isfinite(stamp_s) and stamp_s >= 0 else index / self._fps
        self._last_s = time_s if time_s > self._last_s else self._last_s + 1 / self._fps
        return self._last_s

    def _skip(self, index: int, stride: int) -> bool:
        """Moves on to the frame `index + stride`; False at the end."""
        if stride > SEEK_FROM_S * self._fps:
            return bool(self._capture.set(cv2.CAP_PROP_POS_FRAMES, index + stride))
        return all(self._capture.grab() for _ in range(stride - 1))

    def _rate(self) -> float:
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        return fps if math.isfinite(fps) and 0 < fps <= 1000 else FALLBACK_FPS

    def _duration_s(self) -> float:
        """What the container says; 0 when it says nothing. `frames` does not rely on it."""
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        return count / self._fps if math.isfinite(count) and count > 0 else 0.0

    def _check_size(self) -> None:
        if self.width_px * self.height_px > self._limits.pixels:
            raise VideoTooLarge(
                f"{self.width_px}x{self.height_px} is more than MAX_VIDEO_PX"
                f" ({self._limits.pixels})"
            )
        self._check_length(self.duration_s)

    def _check_length(self, seconds: float) -> None:
        if seconds > self._limits.seconds:
            raise VideoTooLarge(
                f"{seconds:.0f} s is more than MAX_VIDEO_S ({self._limits.seconds:g} s)"
            )
