"""Starts and ends the decoder's child process, and creates the memory shared with that process."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from typing import IO, cast

from rollcall.core.types import VideoLimits

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def start_child(memory: int, files: int, limits: VideoLimits) -> subprocess.Popen[bytes]:
    """Start `rollcall.video.child` with pipes to its standard input and output.

    `memory` is the descriptor of the shared memory, and `files` that of the socket through which
    the child receives videos.
    """
    numbers = [str(memory), str(files), str(limits.seconds), str(limits.pixels)]
    # The child gets nothing else from our environment, which holds secrets.
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
        # With one malloc arena, memory stays constant over a thousand videos; with several, it
        # creeps up.
        "MALLOC_ARENA_MAX": "1",
    }
    # -P: the current folder may hold a module `av` that is not PyAV.
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-P", "-W", "ignore", "-m", "rollcall.video.child", *numbers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(memory, files),
        env=environment,
    )


def end_child(process: subprocess.Popen[bytes], files: socket.socket) -> None:
    """Close the pipes and the socket to the child, kill the child, and wait until it has ended."""
    files.close()
    for pipe in pipes_of(process):
        pipe.close()
    process.kill()
    process.wait()


def pipes_of(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    """Return the pipe to the child and the pipe from it."""
    return cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)


def shared_memory_file(size_bytes: int) -> int:
    """Return the descriptor of a file in memory. A page uses memory only after it was written."""
    try:
        number = os.memfd_create("rollcall-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):  # not on Linux, or not allowed
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
        os.ftruncate(number, size_bytes)
        return number
    os.ftruncate(number, size_bytes)
    # Without seals, a child that was taken over could shrink the file, and the parent would be
    # killed by SIGBUS when it next reads a picture.
    fcntl.fcntl(number, fcntl.F_ADD_SEALS, _SEALS)
    return number
