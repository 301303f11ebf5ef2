"""The decoder's child process: one video after the other, within limits that the kernel keeps.

A video comes from anybody, and FFmpeg is a million lines of C. So it runs where a crash, a hang or
a hunger for memory costs one video, where no secret is in the environment, and where no file can be
opened: the parent hands over each video as an open file.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import mmap
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from rollcall.core.errors import RollcallError
from rollcall.core.types import Frame, VideoLimits
from rollcall.video.av_video import AvVideo, open_video
from rollcall.video.system_calls import limit_system_calls
from rollcall.video.wire import (
    ALL_PLACES,
    CHANNELS,
    KEPT_PLACE,
    LARGE_PX,
    PLACES,
    PLACES_WHEN_LARGE,
    Message,
    PeerGone,
    Wire,
)

IMPORTED_LATE = (
    "array",
    "av.audio.codeccontext",
    "av.audio.stream",
    "av.subtitles.codeccontext",
    "av.subtitles.stream",
    "av.video.codeccontext",
    "av.video.stream",
)
"""PyAV imports these when it first meets such a track, and `socket` the first one when it receives
a file. By then not even a module can be opened."""

CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")

KEPT_BYTES = 256 << 20
KEPT_SHARE = 8
"""Decoded frames that are kept for a second look: at most so many bytes, and at most this part of
the container's memory. Half a minute of 360p, five seconds of 720p, two seconds of 4K."""

OWN_BYTES = 1 << 30
"""Address space for Python, numpy and FFmpeg themselves; most of it is never touched."""

DECODER_PICTURES = 48
"""Full pictures that a decoder may keep: 16 to refer to, and some for each thread."""


class PartFile(io.RawIOBase):
    """A file of which some bytes may still be missing; `need(start, end)` fetches them first.

    `need` tells which range is there afterwards.
    """

    def __init__(
        self, number: int, size_bytes: int, need: Callable[[int, int], tuple[int, int]] | None
    ) -> None:
        """`number` is the file's descriptor; it is closed with this object."""
        self._number = number
        self._size_bytes = size_bytes
        self._need = need
        self._there = [(0, 0 if need else size_bytes)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}
        self._position = max(0, base[whence] + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size_bytes if size < 0 else min(self._size_bytes, self._position + size)
        if end <= self._position:
            return b""
        if self._need and not any(a <= self._position and end <= b for a, b in self._there):
            self._there.append(self._need(self._position, end))
            end = min(end, self._there[-1][1])
        data = os.pread(self._number, end - self._position, self._position)
        self._position += len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            os.close(self._number)
        super().close()


class Child:
    """Serves the parent until it hangs up.

    Every `open` gets one last answer: `end`, after the parent asked to `close` the video, or
    `error`. Requests that the parent sent before it read an error are ignored.
    """

    def __init__(
        self, wire: Wire, files: socket.socket, memory: mmap.mmap, limits: VideoLimits
    ) -> None:
        self._wire = wire
        self._files = files
        self._memory = memory
        self._limits = limits
        self._waiting: deque[Message] = deque()
        self._kept_bytes = kept_bytes()
        self._wanted_s = 0.0

    def serve(self) -> None:
        """Raises PeerGone when the parent has ended."""
        self._wire.send({"ready": True})
        while True:
            request = self._wire.receive()
            if "open" in request:
                self._one_video(request)
                self._waiting.clear()
                gc.collect()  # PyAV's frames refer to themselves, and each is a whole picture

    def _one_video(self, request: Message) -> None:
        limit_cpu(request["cpu_s"])
        need = None if request["complete"] else self._need
        try:
            with (
                PartFile(self._file(), request["bytes"], need) as file,
                open_video(
                    file,  # type: ignore[arg-type]
                    self._limits,
                    whole=request["whole"],
                    track=request["track"],
                    kept_bytes=self._kept_bytes,
                ) as video,
            ):
                places = PLACES if video.pixels <= LARGE_PX else PLACES_WHEN_LARGE
                facts = [video.duration_s, video.moving_s, video.track, video.tracks]
                self._wire.send({"video": [*facts, video.divisible, places]})
                self._serve_video(video, places)
                self._wire.send({"end": True})
        except RollcallError as error:
            self._wire.send({"error": error.code, "message": str(error)})
        except MemoryError:
            self._wire.send({"error": "memory"})

    def _file(self) -> int:
        """The descriptor of the video, which the parent has opened."""
        _, (number,), _, _ = socket.recv_fds(self._files, 1, 1)
        return number

    def _serve_video(self, video: AvVideo, places: int) -> None:
        """Until the parent asks to close the video. After the last frame, every further request
        for the next one is answered `over`."""
        frames, number = video.frames(self._wanted_times()), 0
        while "close" not in (request := self._request()):
            if "key_frames" in request:
                frames = video.key_frames(request["key_frames"])
            elif "kept" in request:
                kept = video.kept_frame(*request["kept"])
                self._wire.send({"kept": kept and self._placed(kept, KEPT_PLACE)})
            elif "cut" in request:
                self._wire.send({"cut": video.cut_between(*request["cut"])})
            elif "next" not in request:
                continue  # bytes that nobody waits for
            elif (frame := self._at(request["next"], frames)) is not None:
                placed = self._placed(frame, number % places)
                self._wire.send({**placed, "damaged": video.damaged})
                number += 1
            else:
                lengths = [video.moving_s, video.duration_s]
                self._wire.send({"over": lengths, "damaged": video.damaged})

    def _at(self, time_s: float, frames: Iterator[Frame]) -> Frame | None:
        self._wanted_s = time_s
        return next(frames, None)

    def _wanted_times(self) -> Iterator[float]:
        while True:
            yield self._wanted_s

    def _request(self) -> Message:
        """The parent waits for what it asks for besides the next frames, so that comes first."""
        while not self._waiting or self._wire.has_more():
            self._waiting.append(self._wire.receive())
        first = next((each for each in self._waiting if "next" not in each), self._waiting[0])
        self._waiting.remove(first)
        return first

    def _placed(self, frame: Frame, place: int) -> Message:
        """Puts a frame into the shared memory, and returns the message that tells the parent."""
        height, width = frame.pixels.shape[:2]
        offset = place * self._limits.pixels * CHANNELS
        target = np.frombuffer(self._memory, np.uint8, frame.pixels.size, offset)
        target.reshape(frame.pixels.shape)[:] = frame.pixels
        return {"frame": frame.time_s, "place": place, "height": height, "width": width}

    def _need(self, start: int, end: int) -> tuple[int, int]:
        """Asked ahead, requests for frames may lie before the answer in the pipe."""
        self._wire.send({"need": [start, end]})
        while "have" not in (message := self._wire.receive()):
            self._waiting.append(message)
        first, last = message["have"]
        return first, last


def limit_files() -> None:
    """No further files may be opened after the video."""
    for module in IMPORTED_LATE:
        importlib.import_module(module)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, lowest_free + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def limit_memory(limits: VideoLimits) -> None:
    """Address space that suffices for the largest allowed picture, and never all of a container's.

    Should memory be short all the same, the kernel is to end this process, and not the function's.
    """
    pictures = limits.pixels * CHANNELS * (DECODER_PICTURES + ALL_PLACES)
    most = min(OWN_BYTES + pictures + kept_bytes(), container_bytes())
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def kept_bytes() -> int:
    return min(KEPT_BYTES, container_bytes() // KEPT_SHARE)


def container_bytes() -> int:
    """What the container may use (cgroup version 2); without a limit, more than there is."""
    try:
        return int(CONTAINER_LIMIT.read_text())
    except (OSError, ValueError):
        return sys.maxsize


def end_with_parent() -> None:
    """Also in the middle of a video that nobody waits for any more."""
    pipe = select.poll()
    pipe.register(0, 0)  # only the other end's closing
    pipe.poll()
    os._exit(0)


def limit_cpu(more_s: float) -> None:
    """From now on; beyond it the kernel ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    max_s = int(usage.ru_utime + usage.ru_stime + more_s) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (max_s, hard))


def main(arguments: list[str]) -> None:
    """`arguments`: descriptors of the shared memory and of the socket that brings videos, and the
    limits: seconds, pixels."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent finishes what runs, then hangs up
    memory_fd, files_fd, seconds, pixels = arguments
    limits = VideoLimits(float(seconds), int(pixels))
    memory = mmap.mmap(int(memory_fd), limits.pixels * CHANNELS * ALL_PLACES)
    os.close(int(memory_fd))
    files = socket.socket(fileno=int(files_fd))
    threading.Thread(target=end_with_parent, daemon=True).start()
    limit_memory(limits)
    limit_files()
    limit_system_calls()
    gc.freeze()
    try:
        Child(Wire(0, 1), files, memory, limits).serve()
    except PeerGone:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
