"""The decoder's child process: decodes one video after the other for its parent, `decoder.py`.

Anybody may upload a video, and FFmpeg is a million lines of C. If the process crashes, hangs or
runs out of memory, only one video is lost. The environment of the process holds no secrets, and the
process cannot open files: it gets each video from the parent as an open file. `process_limits.py`
and `system_calls.py` set these limits, and `wire.py` lists the messages.
"""

from __future__ import annotations

import gc
import mmap
import os
import select
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Iterator

import numpy as np

from rollcall.core.errors import RollcallError
from rollcall.core.types import Frame, VideoLimits
from rollcall.video.av_video import AvVideo, open_video
from rollcall.video.part_file import PartFile
from rollcall.video.process_limits import limit_cpu, limit_files, limit_memory
from rollcall.video.system_calls import limit_system_calls
from rollcall.video.wire import (
    ALL_SLOTS,
    CHANNELS,
    KEPT_SLOT,
    LARGE_PX,
    SLOTS,
    SLOTS_WHEN_LARGE,
    Message,
    PeerGone,
    Wire,
)


class Child:
    """Serves the parent until the parent closes the pipe.

    The last answer about a video is either `end`, after the parent sent `close`, or `error`.
    Requests that the parent sent before it read the error are ignored.
    """

    def __init__(
        self,
        wire: Wire,
        files: socket.socket,
        memory: mmap.mmap,
        limits: VideoLimits,
        *,
        kept_bytes: int,
    ) -> None:
        """`kept_bytes` limits the memory for frames that are kept for a second look."""
        self._wire = wire
        self._files = files
        self._memory = memory
        self._limits = limits
        self._kept_bytes = kept_bytes
        self._requests: deque[Message] = deque()
        """Requests that were received but not answered yet."""
        self._wanted_s = 0.0

    def serve(self) -> None:
        """Decode videos until the parent has ended, then raise PeerGone."""
        self._wire.send({"ready": True})
        while True:
            request = self._wire.receive()
            if "open" in request:
                self._serve_file(request)
                self._requests.clear()
                gc.collect()  # PyAV's frames are in reference cycles, and each is a whole picture

    def _serve_file(self, request: Message) -> None:
        limit_cpu(request["cpu_s"])
        ensure_range = None if request["complete"] else self._ensure_range
        try:
            with (
                PartFile(self._receive_file(), request["bytes"], ensure_range) as file,
                open_video(
                    file,  # type: ignore[arg-type]
                    self._limits,
                    whole=request["whole"],
                    track=request["track"],
                    kept_bytes=self._kept_bytes,
                ) as video,
            ):
                slots = SLOTS if video.pixels <= LARGE_PX else SLOTS_WHEN_LARGE
                facts = [video.duration_s, video.moving_s, video.track, video.tracks]
                self._wire.send({"video": [*facts, video.divisible, slots]})
                self._serve_video(video, slots)
                self._wire.send({"end": True})
        except RollcallError as error:
            self._wire.send({"error": error.code, "message": str(error)})
        except MemoryError:
            self._wire.send({"error": "memory"})

    def _receive_file(self) -> int:
        """Return the descriptor of the video, which the parent has opened."""
        _, (number,), _, _ = socket.recv_fds(self._files, 1, 1)
        return number

    def _serve_video(self, video: AvVideo, slots: int) -> None:
        """Answer requests until the parent closes the video."""
        frames, number = video.frames(self._wanted_times()), 0
        while "close" not in (request := self._next_request()):
            if "key_frames" in request:
                frames = video.key_frames(request["key_frames"])
            elif "kept" in request:
                kept = video.kept_frame(*request["kept"])
                self._wire.send({"kept": kept and self._put_into_slot(kept, KEPT_SLOT)})
            elif "cut" in request:
                self._wire.send({"cut": video.cut_between(*request["cut"])})
            elif "next" not in request:
                continue  # a `have` that came too late: nothing waits for it
            else:
                self._wanted_s = request["next"]
                if (frame := next(frames, None)) is not None:
                    answer = self._put_into_slot(frame, number % slots)
                    number += 1
                else:
                    answer = {"over": [video.moving_s, video.duration_s]}
                self._wire.send({**answer, "damaged": video.damaged})

    def _wanted_times(self) -> Iterator[float]:
        """Yield the time of the latest `next` request whenever `AvVideo` asks for another time."""
        while True:
            yield self._wanted_s

    def _next_request(self) -> Message:
        """Return the request to answer next.

        The parent sends requests for frames ahead of time. All other requests come first, because
        the parent is waiting for their answers.
        """
        while not self._requests or self._wire.has_more():
            self._requests.append(self._wire.receive())
        urgent = (each for each in self._requests if "next" not in each)
        request = next(urgent, self._requests[0])
        self._requests.remove(request)
        return request

    def _put_into_slot(self, frame: Frame, slot: int) -> Message:
        """Copy a frame into the shared memory, and return the message that describes it."""
        height, width = frame.pixels.shape[:2]
        offset = slot * self._limits.pixels * CHANNELS
        target = np.frombuffer(self._memory, np.uint8, frame.pixels.size, offset)
        target.reshape(frame.pixels.shape)[:] = frame.pixels
        return {"frame": frame.time_s, "slot": slot, "height": height, "width": width}

    def _ensure_range(self, start: int, end: int) -> tuple[int, int]:
        """Have the parent fetch these bytes; return the range that is in the file afterwards."""
        self._wire.send({"need": [start, end]})
        # Requests for frames that were sent ahead may come through the pipe before the answer.
        while "have" not in (message := self._wire.receive()):
            self._requests.append(message)
        first, last = message["have"]
        return first, last


def end_with_parent() -> None:
    """End this process when the parent closes the pipe, even in the middle of a video."""
    pipe = select.poll()
    pipe.register(0, 0)  # 0 for no events: `poll` returns only when the other end is closed
    pipe.poll()
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Serve the parent.

    `arguments` are the descriptor of the shared memory, the descriptor of the socket that delivers
    videos, and the limits: seconds and pixels.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        # The parent finishes the current video, and then closes the pipe.
        signal.signal(number, signal.SIG_IGN)
    memory_fd, files_fd, seconds, pixels = arguments
    limits = VideoLimits(float(seconds), int(pixels))
    memory = mmap.mmap(int(memory_fd), limits.pixels * CHANNELS * ALL_SLOTS)
    os.close(int(memory_fd))
    files = socket.socket(fileno=int(files_fd))
    # Everything that needs a thread or a file comes before the limits that forbid these.
    threading.Thread(target=end_with_parent, daemon=True).start()
    kept_bytes = limit_memory(limits)
    limit_files()
    limit_system_calls()
    gc.freeze()  # the collection after each video need not look at the libraries' objects
    try:
        Child(Wire(0, 1), files, memory, limits, kept_bytes=kept_bytes).serve()
    except PeerGone:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
