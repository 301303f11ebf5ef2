"""The decoder's child process: a hostile video stops only itself, and reaches nothing outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.needs import need
from support.videos import paint_video
from support.waiting import wait_until

from rollcall.core.errors import (
    DecoderCrashed,
    DecoderUnavailable,
    NotAVideo,
    VideoTooLarge,
    VideoTooSlow,
)
from rollcall.core.protocols import VideoFile
from rollcall.core.stopwatch import Stopwatch
from rollcall.core.types import VideoLimits
from rollcall.stores.memory import MemoryStore
from rollcall.video.child_process import shared_memory_file
from rollcall.video.decoded_video import DecodedVideo
from rollcall.video.decoder import Decoder
from rollcall.video.pool import DecoderPool
from rollcall.video.video_files import ObjectFile, WholeFile
from rollcall.video.wire import ALL_SLOTS

LIMITS = VideoLimits(60, 1 << 16)
SYSTEM_CALLS = "rollcall.video.system_calls"


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(LIMITS)
    yield pool
    pool.close()


@pytest.fixture
def video(tmp_path: Path) -> WholeFile:
    return WholeFile(paint_video(tmp_path / "a.mp4", ["red"], frames_each=30))


def decoder_of(video: DecodedVideo) -> Decoder:
    return video._decoder


def pid_of(video: DecodedVideo) -> int:
    return decoder_of(video)._process.pid


def times_of(pool: DecoderPool, file: WholeFile, *, whole: bool = False) -> list[float]:
    with pool.open(file, whole=whole, max_s=60) as opened:
        return [round(frame.time_s, 3) for frame in opened.frames([0.0, 1.0, 2.0, 9.0])]


@pytest.mark.parametrize("whole", [False, True])
def test_frames_are_given_for_the_wanted_times_up_to_the_end(
    pool: DecoderPool, video: WholeFile, whole: bool
) -> None:
    assert times_of(pool, video, whole=whole) == [0.0, 1.0, 2.0]


def test_a_child_is_kept_for_the_next_video(
    pool: DecoderPool, video: WholeFile, tmp_path: Path
) -> None:
    """That is so even after a video that was refused, and after a video of which only one frame was
    read."""
    (tmp_path / "bad").write_bytes(b"bad")
    with pool.open(video, whole=False, max_s=60) as opened:
        pid = pid_of(opened)
        next(opened.frames([0.0]))
    with pytest.raises(NotAVideo), pool.open(WholeFile(tmp_path / "bad"), whole=False, max_s=60):
        pass
    with pool.open(video, whole=True, max_s=60) as opened:
        assert pid_of(opened) == pid
        next(opened.frames([0.0, 1.0, 2.0]))
    assert times_of(pool, video) == [0.0, 1.0, 2.0]


def spoil(
    pool: DecoderPool,
    file: VideoFile,
    how: Callable[[DecodedVideo], object],
    max_s: float = 60,
) -> None:
    """Call `how` between a video's first frame and its second."""
    with pool.open(file, whole=False, max_s=max_s) as opened:
        frames = opened.frames([0.0, 1.0])
        next(frames)
        how(opened)
        next(frames)


def test_a_crash_stops_only_one_video(pool: DecoderPool, video: WholeFile) -> None:
    with pytest.raises(DecoderCrashed):
        spoil(pool, video, lambda opened: os.kill(pid_of(opened), signal.SIGSEGV))
    assert times_of(pool, video) == [0.0, 1.0, 2.0]


def test_a_kill_from_outside_is_not_the_videos_fault(pool: DecoderPool, video: WholeFile) -> None:
    """The kernel may have killed the child because memory was short."""
    with pytest.raises(DecoderUnavailable):
        spoil(pool, video, lambda opened: os.kill(pid_of(opened), signal.SIGKILL))


def test_too_much_processor_time_is_the_videos_fault(pool: DecoderPool, video: WholeFile) -> None:
    with pytest.raises(VideoTooSlow):
        spoil(pool, video, lambda opened: os.kill(pid_of(opened), signal.SIGXCPU))


def test_a_child_that_died_while_it_was_idle_is_replaced(
    pool: DecoderPool, video: WholeFile
) -> None:
    with pool.open(video, whole=False, max_s=60) as opened:
        pid, process = pid_of(opened), decoder_of(opened)._process
    os.kill(pid, signal.SIGKILL)
    process.wait()
    assert times_of(pool, video) == [0.0, 1.0, 2.0]


def test_a_child_that_cannot_start_is_not_the_videos_fault(
    video: WholeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DecoderUnavailable):
        times_of(DecoderPool(LIMITS), video)


def test_a_module_in_the_current_folder_is_not_run(
    video: WholeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "av.py").write_text("raise SystemExit('a trap')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    pool = DecoderPool(LIMITS)
    assert times_of(pool, video) == [0.0, 1.0, 2.0]
    pool.close()


def test_a_child_that_ran_out_of_memory_is_not_kept(pool: DecoderPool, video: WholeFile) -> None:
    pids: list[int] = []

    def run_out(opened: DecodedVideo) -> None:
        pids.append(pid_of(opened))
        decoder_of(opened).wire._buffer = b'{"error": "memory"}\n'

    with pytest.raises(VideoTooLarge, match="memory"):
        spoil(pool, video, run_out)
    assert not is_alive(pids[0])


def test_a_child_that_asks_for_bytes_without_end_is_ended(
    pool: DecoderPool, tmp_path: Path
) -> None:
    store = MemoryStore()
    store.write("b", "k", paint_video(tmp_path / "a.mp4", ["red"]).read_bytes(), "", {})
    info = store.head("b", "k")
    file = ObjectFile(store, info, tmp_path / "video", Stopwatch())
    needs = b'{"need": [0, %d]}\n' % (1 << 40)
    with pytest.raises(DecoderCrashed):
        spoil(pool, file, answering(needs * 200_000))


def test_a_child_that_hangs_is_ended(video: WholeFile) -> None:
    pool = DecoderPool(LIMITS)
    times_of(pool, video)
    (idle,) = pool._idle
    pid = idle._process.pid

    def hang(opened: DecodedVideo) -> None:
        assert pid_of(opened) == pid
        os.kill(pid, signal.SIGSTOP)

    # On a busy machine, the time may be over before the child is stopped, with the same end.
    with pytest.raises(VideoTooSlow, match="MAX_CALL_S"):
        spoil(pool, video, hang, max_s=2)
    assert not Path(f"/proc/{pid}").exists()
    pool.close()


def answering(message: bytes) -> Callable[[DecodedVideo], object]:
    """Return a function that sends the parent a message. A hostile video that has taken over the
    child could do the same."""

    def answer(opened: DecodedVideo) -> None:
        decoder_of(opened).wire._buffer = message

    return answer


PICTURES = [(ALL_SLOTS, 1, 1), (-1, 1, 1), (0, 1 << 10, 1 << 10), (0, -1, -1)]


@pytest.mark.parametrize(
    "message",
    [
        *(b'{"need": [1e999, 1]}\n', b'{"video": [1, 1, NaN]}\n'),
        *(b"[" * 30_000 + b"\n", b'{"a":' * 10_000 + b"\n"),
        *(b"nonsense\n", b"[]\n", b'{"frame": 0}\n', b'{"video": [1]}\n', b'{"need": 1}\n'),
        b"x" * (1 << 17),
        *(
            b'{"frame": 0, "slot": %d, "height": %d, "width": %d}\n' % picture
            for picture in PICTURES
        ),
        b'{"frame": NaN, "slot": 0, "height": 1, "width": 1}\n',
    ],
)
def test_a_child_that_sends_nonsense_is_ended(
    pool: DecoderPool, video: WholeFile, message: bytes
) -> None:
    with pytest.raises(DecoderCrashed):
        spoil(pool, video, answering(message))


def test_no_secret_is_in_the_childs_environment(
    pool: DecoderPool, video: WholeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    with pool.open(video, whole=False, max_s=60) as opened:
        found = Path(f"/proc/{pid_of(opened)}/environ").read_bytes()
    assert b"PYTHONPATH" in found
    assert b"do-not-tell" not in found


def in_limits(script: str, *, filtered: bool = True) -> str:
    """Run a script within the child's limits; return the script's output."""
    lines = [
        "import socket, sys",
        "import resource",
        "from rollcall.video.process_limits import limit_cpu, limit_files, limit_memory",
        "from rollcall.core.types import VideoLimits",
        "import os, signal, threading",
        f"from {SYSTEM_CALLS} import limit_system_calls",
        "limit_files()",
        "limit_memory(VideoLimits(60, 1 << 16))",
        "limit_system_calls()" if filtered else "",
        script,
    ]
    argv = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("second", [f"open({sys.executable!r})", "socket.socket()"])
def test_only_one_file_can_be_opened(second: str) -> None:
    script = f"""
video = open({sys.executable!r}, "rb")
try:
    {second}
    print("opened")
except OSError as error:
    print(error.strerror)
"""
    assert in_limits(script, filtered=False) == "Too many open files\n"


@pytest.mark.parametrize(
    "call",
    [
        "os.kill(os.getppid(), 0)",
        "os.fork()",
        "os.execv(sys.executable, [sys.executable])",
        "os.truncate('/proc/self/cmdline', 0)",
        "signal.pidfd_send_signal(0, 0)",
        "threading.Thread(target=print).start()",
        "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))",
        "open(sys.executable)",
        "socket.socket()",
    ],
)
def test_files_other_processes_and_the_network_cannot_be_reached(call: str) -> None:
    need(has_filter(), "libseccomp is not installed, or not allowed")
    script = f"""
try:
    {call}
    print("done")
except (OSError, RuntimeError) as error:
    print("refused")
"""
    assert in_limits(script) == "refused\n"


def test_the_child_cannot_gain_privileges() -> None:
    script = "import ctypes; print(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))  # PR_GET_NO_NEW_PRIVS"
    assert in_limits(script) == "1\n"


def has_filter() -> bool:
    argv = [sys.executable, "-c", f"import {SYSTEM_CALLS} as s; print(s.limit_system_calls())"]
    return subprocess.run(argv, capture_output=True, text=True).stdout == "True\n"


def test_memory_is_limited() -> None:
    script = """
try:
    bytearray(4 << 30)
except MemoryError:
    print("no more")
"""
    assert in_limits(script) == "no more\n"


def test_kept_frames_use_an_eighth_of_a_small_containers_memory(tmp_path: Path) -> None:
    """The container's limit is read before the child loses the right to open files."""
    limit = tmp_path / "memory.max"
    limit.write_text(f"{1536 << 20}\n")
    script = f"""
import os, socket
from pathlib import Path
from rollcall.video import child, memory_limit
memory_limit._LIMITS = (Path({str(limit)!r}),)
class Stub:
    def __init__(self, *others, kept_bytes):
        print(kept_bytes >> 20, flush=True)
    def serve(self):
        pass
child.Child = Stub
child.end_with_parent = lambda: None
memory = os.memfd_create("frames")
os.truncate(memory, 1 << 20)
files, other = socket.socketpair()
child.main([str(memory), str(files.fileno()), "60", "1000"])
os._exit(0)
"""
    argv = [sys.executable, "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.stdout == "192\n", done.stderr


def test_processor_time_is_limited() -> None:
    # Less than a millisecond may be left, so the script prints before it sets the limit.
    assert in_limits("print('on', flush=True)\nlimit_cpu(0)\nwhile True: pass") == "on\n"


def test_a_child_that_floods_us_with_requests_is_ended(pool: DecoderPool, tmp_path: Path) -> None:
    """The bytes are already there, so fetching them would cost nothing."""
    store = MemoryStore()
    store.write("b", "k", paint_video(tmp_path / "a.mp4", ["red"]).read_bytes(), "", {})
    file = ObjectFile(store, store.head("b", "k"), tmp_path / "video", Stopwatch())
    with pytest.raises(DecoderCrashed, match="requests"):
        spoil(pool, file, answering(b'{"need": [0, 1]}\n' * 50_000))


def test_a_child_that_asks_for_bytes_of_a_whole_file_is_ended(
    pool: DecoderPool, video: WholeFile
) -> None:
    with pytest.raises(DecoderCrashed, match="requests"):
        spoil(pool, video, answering(b'{"need": [0, 1]}\n'))


def test_a_child_that_reads_nothing_does_not_block_us(video: WholeFile) -> None:
    """The pipe to the child is full after 64 KiB."""
    pool = DecoderPool(LIMITS)

    def fill(opened: DecodedVideo) -> None:
        os.kill(pid_of(opened), signal.SIGSTOP)
        while True:
            decoder_of(opened).ask({"next": 1.0})

    with pytest.raises(VideoTooSlow):
        spoil(pool, video, fill, max_s=2)
    pool.close()


def test_the_shared_memory_can_neither_shrink_nor_grow() -> None:
    """Otherwise the parent would be killed by SIGBUS when it next reads a picture."""
    shared = shared_memory_file(4096)
    for size in (0, 8192):
        with pytest.raises(PermissionError):
            os.ftruncate(shared, size)
    os.close(shared)


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_a_temporary_file_replaces_shared_memory_that_is_not_available(
    video: WholeFile, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(name: str, flags: int) -> int:
        raise error

    monkeypatch.setattr(os, "memfd_create", refuse)
    pool = DecoderPool(LIMITS)
    assert times_of(pool, video) == [0.0, 1.0, 2.0]
    pool.close()


def test_a_decoder_ends_with_its_pool(video: WholeFile) -> None:
    pool = DecoderPool(LIMITS)
    with pool.open(video, whole=False, max_s=60) as opened:
        pid = pid_of(opened)
    assert Path(f"/proc/{pid}").exists()
    del opened, pool
    assert not Path(f"/proc/{pid}").exists()


def test_a_decoder_ends_when_its_parent_is_killed(video: WholeFile, tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from rollcall.video.pool import DecoderPool
from rollcall.core.types import VideoLimits
from rollcall.video.video_files import WholeFile
with DecoderPool(VideoLimits(60, 1 << 16)).open(
    WholeFile(Path({str(video.path)!r})), whole=False, max_s=60
) as opened:
    print(opened._decoder._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pid = int(done.stdout)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: not is_alive(pid), "the end of the child")


def is_alive(pid: int) -> bool:
    """Whether a process is running. A zombie does not count."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0]
    except OSError:
        return False
    return state != "Z"
