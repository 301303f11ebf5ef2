"""Frames of a video file, by OpenCV's FFmpeg."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
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

SEEK_SLACK_S = 1.0
"""A seek aims this much early: OpenCV counts the frames between key frame and aim by the nominal
rate, and overshoots where frames were dropped. Where the rate is absurd, nothing is sought."""

FALLBACK_FPS = 25.0
"""For a container that tells no rate, or an absurd one."""

MAX_FPS = 250.0
"""FFmpeg tells 1000 for jittered millisecond stamps."""


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
        kind = "empty" if not head else "not a video container (MP4, MKV, AVI, ...)"
        raise NotAVideo(f"the file is {kind}; check that the upload was complete")
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
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
        self._may_seek = self._fps == capture.get(cv2.CAP_PROP_FPS)
        self._time_s = -1.0
        self.duration_s = self._duration_s()
        self._check_size()

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """For each time the first frame that is not before it; times only grow.

        Raises NotAVideo when not even the first frame can be decoded. A video that is cut off
        ends with its last good frame.
        """
        for time_s in times_s:
            if not self._go_to(time_s):
                break
            ok, bgr = self._capture.retrieve()
            if not ok or bgr is None:
                break
            pixels = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            yield Frame(self._time_s, np.ascontiguousarray(pixels, dtype=np.uint8))
        if self._time_s < 0:
            raise NotAVideo("no frame of the video can be decoded")

    def _go_to(self, time_s: float) -> bool:
        """Grabs the first frame that is not before that time; False at the end.

        Frames are counted by their own time stamps: the container's rate is nominal, and for
        recordings of screens and browsers plainly wrong.
        """
        if self._may_seek and time_s - self._time_s > SEEK_FROM_S and time_s < self.duration_s:
            self._capture.set(cv2.CAP_PROP_POS_MSEC, (time_s - SEEK_SLACK_S) * 1000)
        while self._capture.grab():
            self._time_s = self._stamp_s()
            self._check_length(self._time_s)
            if self._time_s >= time_s - 0.5 / self._fps:
                return True
        return False

    def _stamp_s(self) -> float:
        """Of the frame that was grabbed. Where stamps stand still or run backwards, the rate
        counts."""
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if math.isfinite(stamp_s) and stamp_s > self._time_s:
            return stamp_s
        return max(self._time_s, 0.0) + (1 / self._fps if self._time_s >= 0 else 0.0)

    def _rate(self) -> float:
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        return fps if math.isfinite(fps) and 0 < fps <= MAX_FPS else FALLBACK_FPS

    def _duration_s(self) -> float:
        """What the container says; 0 when it says nothing. `frames` does not rely on it."""
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        duration_s = count / rate if rate > 0 else 0.0
        return duration_s if math.isfinite(duration_s) and duration_s > 0 else 0.0

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
