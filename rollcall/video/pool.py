"""Decoders that wait for the next video."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rollcall.core.protocols import VideoFile
from rollcall.core.types import VideoLimits
from rollcall.video.decoder import DecodedVideo, Decoder


class DecoderPool:
    """As many children as there were videos at once. Safe for threads."""

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
        """The video in a child. `whole` says that all of it will be looked at, `track` which of its
        video tracks, in the order in which they are worth looking at. `cpu_s` is how much processor
        time decoding may take.

        Raises NotAVideo, VideoTooLarge, DecoderCrashed, DecoderUnavailable, or what fetching its
        bytes raises.
        """
        decoder = self._take()
        try:
            yield decoder.open(file, whole=whole, max_s=max_s, cpu_s=cpu_s, track=track)
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
        """A child that died while it was idle is replaced; no video is to blame."""
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.alive():
                    return decoder
                decoder.end()
        return Decoder(self._limits)
