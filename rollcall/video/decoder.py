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
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import IO, Any, NamedTuple, cast

import numpy as np

from rollcall.core.errors import (
    DecoderCrashed,
    DecoderUnavailable,
    NotAVideo,
    RollcallError,
    VideoTooLarge,
)
from rollcall.core.protocols import VideoFile
from rollcall.core.types import Frame, VideoLimits
from rollcall.video.wire import (
    ALL_PLACES,
    CHANNELS,
    PLACES,
    Message,
    PeerGone,
    PeerSlow,
    Wire,
)

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


class Facts(NamedTuple):
    """Facts that the child knows about a video once it is open. `places` is the number of frames
    that may be asked for ahead."""

    duration_s: float
    moving_s: float
    track: int
    tracks: int
    divisible: bool
    places: int


class Decoder:
    """One child process, for one video at a time."""

    def __init__(self, limits: VideoLimits) -> None:
        self._limits = limits
        size = limits.pixels * CHANNELS * ALL_PLACES
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
        max_s: float,
        cpu_s: float = math.inf,
        track: int = 0,
    ) -> DecodedVideo:
        """Raises NotAVideo, VideoTooLarge, DecoderCrashed or DecoderUnavailable.

        `max_s` is how long the video may take from now on; fetching its bytes does not count.
        `cpu_s` is how much processor time decoding may take.
        """
        self._await_ready()
        self.deadline_s = time.monotonic() + max_s
        self.in_step = False
        self._requests = 0
        request = {"open": True, "bytes": file.size_bytes, "complete": file.complete}
        limits = {"cpu_s": min(cpu_s, max_s), "track": track}
        with open(file.path, "rb") as opened:
            self._send({**request, **limits, "whole": whole})
            self._send_file(opened.fileno())
        return DecodedVideo(self, file, self._facts(self.answer(file)), whole=whole)

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

    def ask(self, request: Message) -> None:
        """The answer is fetched later."""
        self._send(request)

    def finish(self, file: VideoFile) -> None:
        """Leaves the video. The caller has what it wanted, so a late error does not matter."""
        try:
            if not self.in_step:
                self._send({"close": True})
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
                there = file.ensure_range(int(start), int(end))
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
            fits = 0 <= place < ALL_PLACES and height > 0 < width and math.isfinite(time_s)
            if not fits or height * width > self._limits.pixels:
                raise ValueError("a picture that does not fit")
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise self._crash(error) from error
        offset = place * self._limits.pixels * CHANNELS
        flat = np.frombuffer(self._memory, np.uint8, height * width * CHANNELS, offset)
        return Frame(time_s, flat.reshape(height, width, CHANNELS))

    def _facts(self, message: Message) -> Facts:
        try:
            duration_s, moving_s, track, tracks, divisible, places = message["video"]
            seconds = (float(duration_s), float(moving_s))
            facts = Facts(*seconds, int(track), int(tracks), bool(divisible), int(places))
            finite = math.isfinite(facts.duration_s + facts.moving_s)
            numbered = 1 <= facts.track <= facts.tracks <= MAX_TRACKS
            if not (finite and numbered and 1 <= facts.places <= PLACES):
                raise ValueError("facts that no video has")
            return facts
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise self._crash(error) from error

    def check(self, sane: bool, problem: str) -> None:
        """Raises DecoderCrashed for a child that talks nonsense."""
        if not sane:
            raise self._crash(ValueError(problem))

    def lengths(self, values: object) -> tuple[float, float]:
        """Two finite numbers of the child's."""
        if isinstance(values, list) and len(values) == 2:
            return self.seconds(values[0]), self.seconds(values[1])
        raise self._crash(ValueError("lengths that are not two numbers"))

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
    """Implements `rollcall.core.types.Video`.

    A frame's pixels are good until the next frame is asked for, and a kept frame's until the next
    kept frame. Frames are read one way only: by `frames`, or by `key_frames`.
    """

    def __init__(self, decoder: Decoder, file: VideoFile, facts: Facts, *, whole: bool) -> None:
        self.damaged = False
        self.duration_s, self.moving_s, self.track, self.tracks = facts[:4]
        self.divisible = bool(facts.divisible)
        self._decoder = decoder
        self._file = file
        self._whole = whole
        self._places = int(facts.places)
        self._asked = 0
        self._over = False
        self._early: deque[Message] = deque()
        """Answers about the next frames that came while a kept frame was waited for."""

    def frames(self, times_s: Iterable[float]) -> Iterator[Frame]:
        """In a video that is opened as a whole, the child decodes the next frames while the caller
        looks at this one."""
        return self._frames(iter(times_s), self._places if self._whole else 1)

    def key_frames(self, step_s: float) -> Iterator[Frame]:
        """The child decodes ahead."""
        self._decoder.ask({"key_frames": step_s})
        return self._frames(repeat(0.0), self._places)

    def kept_frame(self, after_s: float, before_s: float) -> Frame | None:
        """May be called for the time between the last two frames, however many were asked for
        ahead."""
        kept = self._ask_beside("kept", after_s, before_s)
        return None if kept is None else self._decoder.frame(kept)

    def cut_between(self, after_s: float, before_s: float) -> float | None:
        """May be called for the time between the last two frames, as `kept_frame`."""
        cut_s = self._ask_beside("cut", after_s, before_s)
        return None if cut_s is None else self._decoder.seconds(cut_s)

    def _ask_beside(self, what: str, after_s: float, before_s: float) -> Any:
        """The child's answer to a question that comes before the frames that were asked for ahead;
        None where it keeps no frames."""
        if not self._whole or self._decoder.in_step:
            return None
        self._decoder.ask({what: [after_s, before_s]})
        while what not in (message := self._decoder.answer(self._file)):
            self._early.append(message)
            self._decoder.check(len(self._early) <= self._asked, "more frames than were asked for")
        return message[what]

    def _frames(self, times: Iterator[float], ahead: int) -> Iterator[Frame]:
        while (frame := self._next(times, ahead)) is not None:
            yield frame

    def _next(self, times: Iterator[float], ahead: int) -> Frame | None:
        while self._asked < ahead and not self._over:
            time_s = next(times, None)
            if time_s is None:
                break
            self._decoder.ask({"next": time_s})
            self._asked += 1
        if not self._asked or self._over:
            return None
        message = self._early.popleft() if self._early else self._decoder.answer(self._file)
        self._asked -= 1
        self.damaged = bool(message.get("damaged"))
        if "over" not in message:
            return self._decoder.frame(message)
        self._over = True
        self.moving_s, self.duration_s = self._decoder.lengths(message["over"])
        return None


def _too_slow() -> VideoTooLarge:
    return VideoTooLarge(
        "decoding the video takes too long; convert it to H.264, or raise MAX_CALL_S together with"
        " the function's time-outs"
    )


def _start(shared: int, files: int, limits: VideoLimits) -> subprocess.Popen[bytes]:
    """Without the environment: it holds secrets, and a video's decoder needs none. With one arena
    of memory, which keeps its size over a thousand videos; several creep up. And without the
    folder in which we happen to be (-P), where a module may lie that is not FFmpeg's."""
    module = "rollcall.video.child"
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
