"""The parent's side of the decoder: one child process that decodes one video at a time.

FFmpeg runs in a child (`child.py`), because it is a million lines of C that read strangers' files.
A crash or a hang there affects only one video and one child, and a hostile video finds neither
secrets nor files in that process. `DecoderPool` keeps healthy decoders for the next video;
`wire.py` lists the messages between the two processes.
"""

from __future__ import annotations

import contextlib
import logging
import math
import mmap
import os
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from rollcall.core.errors import DecoderCrashed, DecoderUnavailable, RollcallError, VideoTooSlow
from rollcall.core.protocols import VideoFile
from rollcall.core.types import Frame, VideoLimits
from rollcall.video.child_answers import VideoFacts, parse_facts, parse_frame, refusal_of
from rollcall.video.child_process import end_child, pipes_of, shared_memory_file, start_child
from rollcall.video.wire import ALL_SLOTS, CHANNELS, Message, PeerGone, PeerSlow, Wire

MAX_START_S = 60.0
"""Time limit for a child to load its libraries, even on a busy machine."""

MAX_END_S = 2.0
"""Time limit for a child to end by itself after an error, before it is killed."""

MAX_RANGE_REQUESTS = 20_000
"""Limit for requests for bytes of one video. Most requests fetch a MiB or more, and `ObjectFile`
fetches the same bytes only a few times."""

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Parsed = TypeVar("Parsed")


class Decoder:
    """A child process, with the memory, pipes and socket that connect it to this process."""

    def __init__(self, limits: VideoLimits) -> None:
        self._limits = limits
        size_bytes = limits.pixels * CHANNELS * ALL_SLOTS
        shared = shared_memory_file(size_bytes)
        self._memory = mmap.mmap(shared, size_bytes)
        self._files, files_of_child = socket.socketpair()
        self._files.setblocking(False)
        with files_of_child:
            self._process = start_child(shared, files_of_child.fileno(), limits)
        os.close(shared)
        to_child, from_child = pipes_of(self._process)
        # A child that does not read must not block us. Its pipe is full after 64 KiB.
        os.set_blocking(to_child.fileno(), False)
        self.wire = Wire(from_child.fileno(), to_child.fileno())
        self._is_ready = False
        self._deadline_s = 0.0
        self._range_requests = 0
        self.is_idle = True
        """Whether the child is waiting for its next video, so that it can be kept."""
        self.end = weakref.finalize(self, end_child, self._process, self._files)
        """Ends the child. Also runs automatically when this object is garbage-collected."""

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def open(
        self,
        file: VideoFile,
        *,
        whole: bool,
        max_s: float,
        cpu_s: float = math.inf,
        track: int = 0,
    ) -> VideoFacts:
        """Have the child open a video.

        `max_s` limits the wall time from now until the video is closed, without the time for
        fetching its bytes. `cpu_s` limits the processor time for decoding. Raises NotAVideo,
        VideoTooLarge, VideoTooLong, VideoTooSlow, DecoderCrashed, DecoderUnavailable, or an error
        from fetching the video's bytes.
        """
        self._await_ready()
        self._deadline_s = time.monotonic() + max_s
        self.is_idle = False
        self._range_requests = 0
        request = {"open": True, "bytes": file.size_bytes, "complete": file.complete}
        limits = {"cpu_s": min(cpu_s, max_s), "track": track}
        with open(file.path, "rb") as opened:
            self.ask({**request, **limits, "whole": whole})
            self._send_file(opened.fileno())
        return self.parse(parse_facts, self.answer(file))

    def ask(self, request: Message) -> None:
        """Send a request. Call `answer` later for the child's answer."""
        try:
            self.wire.send(request, self._deadline_s)
        except PeerSlow as error:
            raise _too_slow() from error
        except PeerGone as error:
            raise self._crash(error) from error

    def answer(self, file: VideoFile) -> Message:
        """Return the child's next answer. Meanwhile, fetch the bytes that the child needs."""
        try:
            while "need" in (message := self.wire.receive(self._deadline_s)):
                self._fetch(file, message)
        except PeerSlow as error:
            raise _too_slow() from error
        except (PeerGone, OverflowError, TypeError, ValueError) as error:
            raise self._crash(error) from error
        # After `end` or an error, the child waits for the next video. A child that ran out of
        # memory is not kept, because it may still hold much of that memory.
        self.is_idle = "end" in message or message.get("error", "memory") != "memory"
        if "error" in message:
            raise refusal_of(message)
        return message

    def frame(self, message: Message) -> Frame:
        """Return the frame in an answer. Its pixels are a view of a slot, which is reused later."""
        found = self.parse(lambda answer: parse_frame(answer, self._limits.pixels), message)
        offset = found.slot * self._limits.pixels * CHANNELS
        shape = (found.height, found.width, CHANNELS)
        flat = np.frombuffer(self._memory, np.uint8, math.prod(shape), offset)
        return Frame(found.time_s, flat.reshape(shape))

    def parse(self, parser: Callable[[Answer], Parsed], answer: Answer) -> Parsed:
        """Parse an answer. If it is nonsense, end the child and raise DecoderCrashed."""
        try:
            return parser(answer)
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise self._crash(error) from error

    def finish(self, file: VideoFile) -> None:
        """Have the child close the video.

        The caller already has its frames, so an error at this point is only logged.
        """
        try:
            if not self.is_idle:
                self.ask({"close": True})
            while not self.is_idle:
                self.answer(file)
        except RollcallError as error:
            log.debug("error while closing a video: %s", error)

    def _await_ready(self) -> None:
        """Wait until the child has loaded its libraries.

        Raises DecoderUnavailable, because a failure here is not the video's fault.
        """
        if self._is_ready:
            return
        try:
            self.wire.receive(time.monotonic() + MAX_START_S)
        except (PeerGone, PeerSlow) as error:
            self.end()
            raise DecoderUnavailable(
                "the decoder's process cannot be started; see the function's log for the reason"
            ) from error
        self._is_ready = True

    def _fetch(self, file: VideoFile, message: Message) -> None:
        """Fetch a range of bytes for the child. Raises ValueError for senseless requests."""
        start, end = message["need"]
        self._range_requests += 1
        if file.complete or self._range_requests > MAX_RANGE_REQUESTS:
            raise ValueError("it sent requests for bytes that no video needs")
        began_s = time.monotonic()
        there = file.ensure_range(int(start), int(end))
        # A slow object store is not the video's fault.
        self._deadline_s += time.monotonic() - began_s
        self.wire.send({"have": there}, self._deadline_s)

    def _send_file(self, number: int) -> None:
        try:
            # Linux sends descriptors only together with at least one byte.
            socket.send_fds(self._files, [b"v"], [number])
        except OSError as error:
            raise self._crash(error) from error

    def _crash(self, error: Exception) -> RollcallError:
        """End the child, and return the error that matches its exit code."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(MAX_END_S)
        exit_code = self._process.poll()
        self.end()
        if exit_code == -signal.SIGXCPU:  # the limit of `cpu_s`
            return _too_slow()
        if exit_code == -signal.SIGKILL:
            # Not the video's fault: an operator killed it, or the kernel, because memory was short.
            return DecoderUnavailable("the decoder's process was killed; is memory short?")
        how = "was stopped" if exit_code is None else f"ended with exit code {exit_code}"
        return DecoderCrashed(f"the decoder {how} while it read the video: {error}")


def _too_slow() -> VideoTooSlow:
    return VideoTooSlow(
        "decoding the video takes too long; convert it to H.264, or raise MAX_CALL_S together with"
        " the function's time-outs"
    )
