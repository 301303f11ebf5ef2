"""The parent's side of the decoder: children that are kept while they are healthy."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import IO, cast

import numpy as np

from rollcall.adapters.video.wire import CHANNELS, PLACES, Message, PeerGone, PeerSlow, Wire
from rollcall.core.errors import (
    DecoderCrashed,
    DecoderUnavailable,
    NotAVideo,
    RollcallError,
    VideoTooLarge,
)
from rollcall.core.seams import VideoFile
from rollcall.core.types import Frame, VideoLimits

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL

START_S = 60.0
"""For a child to load its libraries, on a busy machine."""

MAX_REQUESTS = 20_000
"""Requests for bytes of one video. Each gets at least a MiB, and no video is read more often than a
few times."""

MAX_TRACKS = 10_000
"""Beyond FFmpeg's own limit of 1000 streams for a file."""

END_S = 2.0
"""For a child that closed its pipes to end."""

log = logging.getLogger(__name__)


class Decoder:
    """One child process, for one video at a time."""

    def __init__(self, limits: VideoLimits) -> None:
        self._limits = limits
        size = limits.pixels * CHANNELS * PLACES
        shared = _shared_file(size)
        self._memory = mmap.mmap(shared, size)
        self._files, theirs = socket.socketpair()
        self._files.setblocking(False)
        with theirs:
            self._process = _start(shared, theirs.fileno(), limits)
        os.close(shared)
        to_child, from_child = _pipes(self._process)
        os.set_blocking(to_child.fileno(), False)  # a child that does not read must not block us
        self.wire = Wire(from_child.fileno(), to_child.fileno())
        self._ready = False
        self.deadline_s = 0.0
        self._requests = 0
        self.in_step = True
        """Whether the child waits for a video, and for nothing else."""
        self.end = weakref.finalize(self, _end, self._process, self._files)

    def alive(self) -> bool:
        return self._process.poll() is None

    def open(
        self,
        file: VideoFile,
        *,
        whole: bool,
        most_s: float,
        cpu_s: float = math.inf,
        track: int = 0,
    ) -> DecodedVideo:
        """Raises NotAVideo, VideoTooLarge, DecoderCrashed or DecoderUnavailable.

        `most_s` is how long the video may take from now on; fetching its bytes does not count.
        `cpu_s` is how much processor time decoding may take.
        """
        self._await_ready()
        self.deadline_s = time.monotonic() + most_s
        self.in_step = False
        self._requests = 0
        request = {"open": True, "bytes": file.size_bytes, "complete": file.complete}
        limits = {"cpu_s": min(cpu_s, most_s), "track": track}
        with open(file.path, "rb") as opened:
            self._send({**request, **limits, "whole": whole})
            self._send_file(opened.fileno())
        return DecodedVideo(self, file, self._facts(self.answer(file)), ahead=whole)

    def _await_ready(self) -> None:
        """What goes wrong before is not a video's fault. Raises DecoderUnavailable."""
        if self._ready:
            return
        try:
            self.wire.receive(time.monotonic() + START_S)
        except (PeerGone, PeerSlow) as error:
            self.end()
            raise DecoderUnavailable(
                "the decoder's process cannot be started; the function's log says why"
            ) from error
        self._ready = True

    def ask(self, time_s: float) -> None:
        """For the frame at that time; its answer is fetched later."""
        self._send({"next": time_s})

    def finish(self, file: VideoFile) -> None:
        """Leaves the video; the caller has what it wanted, so what still goes wrong is nothing."""
        try:
            if not self.in_step:
                self._send({"next": None})
            while not self.in_step:
                self.answer(file)
        except RollcallError as error:
            log.debug("leaving a video: %s", error)

    def answer(self, file: VideoFile) -> Message:
        """The child's, after the bytes that it needs for it are there."""
        try:
            while "need" in (message := self.wire.receive(self.deadline_s)):
                start, end = message["need"]
                self._count_request(file)
                began_s = time.monotonic()
                there = file.need(int(start), int(end))
                self.deadline_s += time.monotonic() - began_s
                self.wire.send({"have": there}, self.deadline_s)
        except PeerSlow as error:
            raise _too_slow() from error
        except (PeerGone, OverflowError, TypeError, ValueError) as error:
            raise self._crash(error) from error
        self.in_step = message.get("error", "memory") != "memory" or "end" in message
        if "error" in message:
            raise _refusal(message)
        return message

    def _count_request(self, file: VideoFile) -> None:
        """Raises ValueError for a child that asks for bytes it has, or without end."""
        self._requests += 1
        if file.complete or self._requests > MAX_REQUESTS:
            raise ValueError("requests for bytes that no video needs")

    def frame(self, message: Message) -> Frame:
        """Its pixels are a view of shared memory, which a later frame overwrites."""
        try:
            place, height, width = (int(message[name]) for name in ("place", "height", "width"))
            time_s = float(message["frame"])
            fits = 0 <= place < PLACES and height > 0 < width and math.isfinite(time_s)
            if not fits or height * width > self._limits.pixels:
                raise ValueError("a picture that does not fit")
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise self._crash(error) from error
        offset = place * self._limits.pixels * CHANNELS
        flat = np.frombuffer(self._memory, np.uint8, height * width * CHANNELS, offset)
        return Frame(time_s, flat.reshape(height, width, CHANNELS))

    def _facts(self, message: Message) -> tuple[float, float, int, int]:
        """Duration and moving seconds, number of the track, and how many tracks there are."""
        try:
            duration_s, moving_s, track, tracks = message["video"]
            if not math.isfinite(duration_s + moving_s) or not 1 <= track <= tracks <= MAX_TRACKS:
                raise ValueError("facts that no video has")
            return float(duration_s), float(moving_s), int(track), int(tracks)
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise self._crash(error) from error

    def seconds(self, value: object) -> float:
        """A finite number of the child's."""
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
        raise self._crash(ValueError("a duration that is not a number"))

    def _send(self, message: Message) -> None:
        try:
            self.wire.send(message, self.deadline_s)
        except PeerSlow as error:
            raise _too_slow() from error
        except PeerGone as error:
            raise self._crash(error) from error

    def _send_file(self, number: int) -> None:
        try:
            socket.send_fds(self._files, [b"v"], [number])
        except OSError as error:
            raise self._crash(error) from error

    def _crash(self, error: Exception) -> RollcallError:
        """What its end says of the video. A SIGKILL comes from elsewhere: an operator, or a kernel
        that is short of memory."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        how = self._process.poll()
        self.end()
        if how == -signal.SIGXCPU:
            return _too_slow()
        if how == -signal.SIGKILL:
            return DecoderUnavailable("the decoder's process was killed; is memory short?")
        return DecoderCrashed(f"the decoder ended with {how} while it read the video: {error}")


class DecodedVideo:
    """Implements `rollcall.core.types.Video`; a frame's pixels are good until the next frame."""

    def __init__(
        self,
        decoder: Decoder,
        file: VideoFile,
        facts: tuple[float, float, int, int],
        *,
        ahead: bool,
    ) -> None:
        self.damaged = False
        self._decoder = decoder
        self._file = file
        self._ahead = ahead
        self._asked = 0
        self.duration_s, self.moving_s, self.track, self.tracks = facts

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """With `ahead`, the child decodes the next frames while the caller looks at this one."""
        times = iter(times_s)
        while (frame := self._next(times)) is not None:
            yield frame

    def _next(self, times: Iterator[float]) -> Frame | None:
        while self._asked < (PLACES if self._ahead else 1):
            time_s = next(times, None)
            if time_s is None:
                break
            self._decoder.ask(time_s)
            self._asked += 1
        if not self._asked:
            return None
        message = self._decoder.answer(self._file)
        self._asked -= 1
        if not self._decoder.in_step:
            return self._decoder.frame(message)
        self.damaged = bool(message.get("damaged"))
        self.moving_s = self._decoder.seconds(message.get("end"))
        return None


def _too_slow() -> VideoTooLarge:
    return VideoTooLarge(
        "decoding the video takes too long for its size; convert it to H.264, or use SCAN=timeline"
        " and raise MAX_CALL_S together with the function's time-outs"
    )


def _start(shared: int, files: int, limits: VideoLimits) -> subprocess.Popen[bytes]:
    """Without the environment: it holds secrets, and a video's decoder needs none. With one arena
    of memory, which keeps its size over a thousand videos; several creep up. And without the
    folder in which we happen to be (-P), where a module may lie that is not FFmpeg's."""
    module = "rollcall.adapters.video.child"
    numbers = [str(shared), str(files), str(limits.seconds), str(limits.pixels)]
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",
    }
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-W", "ignore", "-m", module, *numbers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(shared, files),
        env=environment,
    )


def _end(process: subprocess.Popen[bytes], files: socket.socket) -> None:
    files.close()
    for pipe in _pipes(process):
        pipe.close()
    process.kill()
    process.wait()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """To the child, and from it."""
    return cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)


def _shared_file(size: int) -> int:
    """Of that size; pages take memory from when they are first written."""
    try:
        number = os.memfd_create("rollcall-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):  # not on Linux, or not allowed
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
        os.ftruncate(number, size)
        return number
    os.ftruncate(number, size)
    # A child that was taken over could shrink it, and our next look at it would be a SIGBUS.
    fcntl.fcntl(number, fcntl.F_ADD_SEALS, SEALS)
    return number


def _refusal(message: Message) -> NotAVideo | VideoTooLarge:
    code, text = message["error"], str(message.get("message", ""))[:500]
    if code == "memory":
        return VideoTooLarge("decoding the video needs more memory than its size allows")
    return VideoTooLarge(text) if code == VideoTooLarge.code else NotAVideo(text)
