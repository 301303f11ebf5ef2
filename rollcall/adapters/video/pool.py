"""Decoders that wait for the next video."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rollcall.adapters.video.decoder import DecodedVideo, Decoder
from rollcall.core.seams import VideoFile
from rollcall.core.types import VideoLimits


class DecoderPool:
    """As many children as there were videos at once. Safe for threads."""

    def __init__(self, limits: VideoLimits, most_s: float) -> None:
        self._limits = limits
        self._most_s = most_s
        self._lock = threading.Lock()
        self._idle: list[Decoder] = []

    @contextmanager
    def open(self, file: VideoFile, *, whole: bool) -> Iterator[DecodedVideo]:
        """The video in a child. `whole` says that all of it will be looked at.

        Raises NotAVideo, VideoTooLarge, DecoderCrashed, or what fetching its bytes raises.
        """
        decoder = self._take()
        try:
            yield decoder.open(file, whole=whole)
            decoder.finish(file)
        finally:
            if decoder.in_step:
                self._idle.append(decoder)
            else:
                decoder.end()

    def close(self) -> None:
        """Ends the children that wait."""
        while self._idle:
            self._idle.pop().end()

    def _take(self) -> Decoder:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Decoder(self._limits, self._most_s)
