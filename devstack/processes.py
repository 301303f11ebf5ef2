"""Start child processes, wait until they are ready, and end them with this process."""

from __future__ import annotations

import ctypes
import random
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
"""Time between SIGTERM and SIGKILL."""
READY_TIMEOUT_S = 120.0
"""Enough for a busy machine, where the imports alone can take ten seconds."""
COMMAND_TIMEOUT_S = 120.0
POLL_S = 0.05
PORT_ATTEMPTS = 100

# Linux assigns ports from 32768 up to clients, and to servers that ask for any port. It never
# assigns a port of this range, so a free port almost always stays free until our child listens.
_OWN_PORTS = range(20_000, 32_768)

# The default generator would not do: hypothesis seeds it, so two test processes would choose the
# same ports.
_RANDOM = random.SystemRandom()

_PR_SET_PDEATHSIG = 1
# Loaded at import. Loading it between fork and exec could wait forever for a lock that another
# thread held at the time of the fork.
_LIBC = ctypes.CDLL(None)


class StartFailed(PermanentError):
    """A process or command failed or was not ready in time. Most messages quote its last lines."""


class Process:
    """A child process with the working directory `folder` and its output in `folder/NAME.log`.

    If this process is killed and cannot stop the child, Linux sends the child
    `parent_death_signal`.
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
                # Ctrl-C in the terminal must not reach the child, because its owner stops it.
                process_group=0,
                preexec_fn=partial(_die_with_parent, parent_death_signal),
            )

    @property
    def pid(self) -> int:
        return self._child.pid

    def alive(self) -> bool:
        return self._child.poll() is None

    def wait_ready(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready` returns True.

        Raises StartFailed if the process ends first, or after READY_TIMEOUT_S.
        """
        until = time.monotonic() + READY_TIMEOUT_S
        while not ready():
            if not self.alive() or time.monotonic() > until:
                raise StartFailed(f"{self.name} did not start; its log ends:\n{self._log_end()}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL if the process does not end within STOP_GRACE_S."""
        if self.alive():
            self._child.terminate()
            try:
                self._child.wait(STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def wait(self, timeout_s: float) -> int:
        """Wait for the process to end, and return its exit code; for a signal, minus its number.

        Raises subprocess.TimeoutExpired.
        """
        return self._child.wait(timeout_s)

    def kill(self) -> None:
        """Send SIGKILL, to simulate a crash."""
        self._child.kill()
        self._child.wait()

    def _log_end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Processes:
    """A context manager that stops its processes in the reverse order of their start."""

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
        """Stop one process before the others. `dead` will not list it."""
        process.stop()
        self._running.remove(process)

    def dead(self) -> list[Process]:
        """Return the processes that ended although nobody stopped them."""
        return [process for process in self._running if not process.alive()]


def run(argv: Sequence[str], env: Mapping[str, str], folder: Path) -> str:
    """Run a command, and return its standard output.

    Raises StartFailed if the command fails, or takes longer than COMMAND_TIMEOUT_S.
    """
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
        raise StartFailed(
            f"{argv[0]} did not end within {COMMAND_TIMEOUT_S:g} s; logs are in {folder}"
        ) from error
    if done.returncode:
        errors = "\n".join(done.stderr.splitlines()[-15:])
        raise StartFailed(f"{argv[0]} ended with exit code {done.returncode}:\n{errors}")
    return done.stdout


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1. Raises StartFailed if it finds none.

    Until this process ends, `free_port` does not return the same port again, here or in another
    process.
    """
    for port in _RANDOM.sample(_OWN_PORTS, PORT_ATTEMPTS):
        # The server may listen only seconds later, and may be restarted. Meanwhile, the UDP port
        # with this number shows other processes that the port is taken.
        mark = socket.socket(type=socket.SOCK_DGRAM)
        try:
            mark.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        mark.detach()  # stays open until this process ends
        return port
    ports = f"{_OWN_PORTS.start} to {_OWN_PORTS.stop - 1}"
    raise StartFailed(
        f"tried {PORT_ATTEMPTS} of the ports {ports}, and all are in use;"
        " stop the programs that use them"
    )


def answers(url: str) -> Callable[[], bool]:
    """Return a function that checks whether a GET of `url` is answered with a status below 500."""

    def ready() -> bool:
        try:
            with HttpClient() as client:
                return client.get(url, timeout_s=2, max_bytes=1 << 20).status < 500
        except NoAnswer:
            return False

    return ready


def _die_with_parent(death_signal: signal.Signals) -> None:
    """Ask Linux to send this child `death_signal` when its parent ends, even by SIGKILL.

    For Linux the parent is the *thread* that started the child, so this thread has to live as long
    as the child.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, death_signal)
