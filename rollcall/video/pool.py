"""Keeps healthy decoders, so that the next video does not have to wait for a new process."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rollcall.core.protocols import VideoFile
from rollcall.core.types import VideoLimits
from rollcall.video.decoded_video import DecodedVideo
from rollcall.video.decoder import Decoder


class DecoderPool:
    """Opens videos in child processes, one video per process at a time. Thread-safe.

    The pool grows to the largest number of videos that were ever open at the same time.
    """

    def __init__(self, limits: VideoLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []

    @contextmanager
    def open(
        self,
        file: VideoFile,
        *,
        whole: bool,
        max_s: float,
        cpu_s: float = math.inf,
        track: int = 0,
    ) -> Iterator[DecodedVideo]:
        """Open a video in a child.

        `whole` means that the video will be decoded from start to end without seeking (the scan
        `timeline`). `track` is the number of the video track, counted from 0 in the order of
        `tracks.choose_track`. `max_s` limits the wall time, without the time for fetching bytes,
        and `cpu_s` the processor time for decoding.

        Raises NotAVideo, VideoTooLarge, VideoTooLong, VideoTooSlow, DecoderCrashed,
        DecoderUnavailable, or an error from fetching the video's bytes.
        """
        decoder = self._take()
        try:
            facts = decoder.open(file, whole=whole, max_s=max_s, cpu_s=cpu_s, track=track)
            yield DecodedVideo(decoder, file, facts, whole=whole)
            decoder.finish(file)
        finally:
            # A child that refused its video is idle as well. After any other error, the child is
            # still busy with its video.
            if decoder.is_idle:
                self._idle.append(decoder)
            else:
                decoder.end()

    def close(self) -> None:
        """End the children that are waiting for a video."""
        while self._idle:
            self._idle.pop().end()

    def _take(self) -> Decoder:
        """Return an idle decoder, or a new one. A child that died while it was idle is replaced."""
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.is_alive():
                    return decoder
                decoder.end()
        return Decoder(self._limits)
