"""Limits that the decoder's child process sets for itself, and that the kernel then enforces.

The limits stay until the process ends, so the child sets them once, before it reads the first
video. Only the limit for processor time is raised for each video. `system_calls.py` adds a filter
for system calls.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import sys

from rollcall.core.types import VideoLimits
from rollcall.video.memory_limit import memory_limit_bytes
from rollcall.video.wire import ALL_SLOTS, CHANNELS

IMPORTED_LATE = (
    "array",
    "av.audio.codeccontext",
    "av.audio.stream",
    "av.subtitles.codeccontext",
    "av.subtitles.stream",
    "av.video.codeccontext",
    "av.video.stream",
)
"""Modules that PyAV imports when it first reads a track of that kind, and `array`, which `socket`
imports when it receives a file descriptor. They are imported early, because later the process
cannot open files."""

MAX_KEPT_BYTES = 256 << 20
KEPT_DIVISOR = 8
"""Decoded frames that are kept for a second look use at most MAX_KEPT_BYTES, and at most the
container's memory divided by KEPT_DIVISOR. Of 4K frames, 256 MiB hold two seconds. Frames of 1080p
and below (8 bits per colour) reach the limit `kept_frames.MAX_KEPT` first."""

LIBRARY_BYTES = 1 << 30
"""Address space for Python, numpy and FFmpeg themselves. Most of it is never used."""

DECODER_PICTURES = 48
"""Number of full pictures for which FFmpeg gets address space: 16 reference pictures, and a reserve
of twice as many."""


def limit_files() -> None:
    """Allow only one more open file, which will be the video, and forbid writing to files."""
    for module in IMPORTED_LATE:
        importlib.import_module(module)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, lowest_free + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def limit_memory(limits: VideoLimits) -> int:
    """Limit the address space; return how many bytes of decoded frames may be kept within it.

    The limit is enough for the largest allowed picture, but never more than the container's memory
    limit.
    """
    container_bytes = memory_limit_bytes() or sys.maxsize
    kept_bytes = min(MAX_KEPT_BYTES, container_bytes // KEPT_DIVISOR)
    picture_bytes = limits.pixels * CHANNELS * (DECODER_PICTURES + ALL_SLOTS)
    max_bytes = min(LIBRARY_BYTES + picture_bytes + kept_bytes, container_bytes)
    # If the container still runs out of memory, the kernel should kill this process and not the
    # function's. Some containers do not allow a process to set this score.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
    return kept_bytes


def limit_cpu(seconds: float) -> None:
    """Allow this much more processor time. After that, the kernel ends the process with SIGXCPU."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    max_s = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (max_s, hard))
