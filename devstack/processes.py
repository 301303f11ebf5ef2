"""Child processes that are ready when they say so, and never outlive us."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from rollcall.core.errors import PermanentError
from rollcall.http_client import HttpClient, NoAnswer

STOP_GRACE_S = 15.0
READY_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0
POLL_S = 0.05
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
"""Loaded here: between fork and exec another thread's loader lock would never be released."""


class StartFailed(PermanentError):
    """A process ended, or did not get ready; the message holds the end of its log."""


class Process:
    """A child process that works in `folder` and writes its output to `NAME.log` there.

    When we are killed and cannot stop the child, it gets `parent_death_signal`.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        pass_fds: Sequence[int] = (),
        parent_death_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self._child = subprocess.Popen(
                argv,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                pass_fds=pass_fds,
                process_group=0,
                preexec_fn=partial(_die_with_parent, parent_death_signal),
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def alive(self) -> bool:
        return self._child.poll() is None

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Raises StartFailed when it ends, or is not ready in time."""
        until = time.monotonic() + READY_TIMEOUT_S
        while not ready():
            if not self.alive() or time.monotonic() > until:
                raise StartFailed(f"{self.name} did not start; its log ends:\n{self._log_end()}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL if the process does not end."""
        if self.alive():
            self._child.terminate()
            try:
                self._child.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def wait(self, timeout_s: float) -> int:
        """Its exit code, once it has ended by itself; of a signal: the negative number."""
        return self._child.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        self._child.kill()
        self._child.wait()

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Processes:
    """Several children, stopped in the reverse order of their start."""

    def __init__(self) -> None:
        self._running: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._running:
            self._running.pop().stop()

    def add(self, process: Process) -> Process:
        self._running.append(process)
        return process

    def stop(self, process: Process) -> None:
        """Stops one of them before the others; it no longer counts as dead then."""
        process.stop()
        self._running.remove(process)

    def dead(self) -> list[Process]:
        return [process for process in self._running if not process.alive()]


def run(argv: Sequence[str], env: Mapping[str, str], folder: Path) -> str:
    """A program that ends by itself; what it printed. Raises StartFailed when it fails, or takes
    longer than COMMAND_TIMEOUT_S."""
    try:
        done = subprocess.run(
            argv,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            cwd=folder,
            timeout=COMMAND_TIMEOUT_S,
            process_group=0,
            preexec_fn=partial(_die_with_parent, signal.SIGTERM),
        )
    except subprocess.TimeoutExpired as error:
        raise StartFailed(f"{argv[0]} did not end; logs are in {folder}") from error
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[-15:])
        raise StartFailed(f"{argv[0]} ended with {done.returncode}; it said:\n{said}")
    return done.stdout


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> Callable[[], bool]:
    """Whether anything below 500 comes back from there."""

    def ready() -> bool:
        try:
            with HttpClient() as client:
                return client.get(url, timeout_s=2, max_bytes=1 << 20).status < 500
        except NoAnswer:
            return False

    return ready


def _die_with_parent(death_signal: signal.Signals) -> None:
    """Ask Linux to send this child `death_signal` when its parent ends, even if it is killed.

    For Linux the parent is the *thread* that started the child, so that thread has to live as
    long as the child should.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal)
