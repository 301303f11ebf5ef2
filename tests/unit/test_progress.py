"""Progress bars on a terminal, and lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.waiting import wait_until

from rollcall.cli import progress_lines
from rollcall.cli.amounts import BYTES, amount_text, rate_text, size_text
from rollcall.cli.durations import exact_duration_text
from rollcall.cli.progress import tracked
from rollcall.cli.progress_lines import LINE_EVERY_S, ProgressLines, WaitingLines

SCRIPT = """
import logging, time
from rollcall.cli import progress_bar
from rollcall.cli.progress import progress, waiting
from rollcall.cli.terminal import LogLines, say
from rollcall.logs import set_up_logs
set_up_logs(handler=LogLines())
progress_bar.SHOWN_AFTER_S = {after}

def work(bar):
    time.sleep({step})
    while {after} < 1 and not bar._shown:  # a busy machine shows it later
        time.sleep(0.01)

with waiting("thinking") as shown:
    work(shown)
with progress("reading", 4, "videos") as shown:
    for number in range(4):
        work(shown)
        say(f"result {{number}}")
        say(f"note {{number}}", err=True)
        logging.warning("warning %d", number)
        shown.mention(f"[bold]file\\x1b]0;x {{number}}" + "x" * 100)
        shown.advance()
    time.sleep({step})
"""
RESULTS = b"".join(b"result %d\n" % number for number in range(4))


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def lines(total: float | None, unit: str, steps: int, step_s: float) -> list[str]:
    clock, shown = Clock(), list[str]()
    with ProgressLines("reading", total, unit, clock, shown.append) as progress:
        for _ in range(steps):
            clock.now_s += step_s
            progress.advance()
    return shown


def test_a_line_every_few_seconds() -> None:
    shown = lines(20, "videos", 20, LINE_EVERY_S / 5)
    assert shown == [
        "reading: 5 of 20 videos, 1/s, 15 s left",
        "reading: 10 of 20 videos, 1/s, 10 s left",
        "reading: 15 of 20 videos, 1/s, 5 s left",
        "reading: 20 of 20 videos, 1/s, 0 s left",
        "reading: 20 of 20 videos in 20 s",
    ]


def test_no_line_for_quick_work() -> None:
    assert lines(20, "videos", 20, LINE_EVERY_S / 21) == []


def test_a_line_without_a_total_has_no_time_left() -> None:
    assert lines(None, "photos", 1, 60) == [
        "reading: 1 photos, 1/min",
        "reading: 1 photos in 1 min 0 s",
    ]


def interrupted(clock: Clock, shown: list[str]) -> None:
    with ProgressLines("x", 3, "videos", clock, shown.append) as progress:
        clock.now_s = 10
        progress.mention("3 of 9 files")
        progress.advance()
        raise KeyboardInterrupt


def test_no_last_line_after_an_error() -> None:
    shown = list[str]()
    with pytest.raises(KeyboardInterrupt):
        interrupted(Clock(), shown)
    assert shown == ["x: 1 of 3 videos, 6/min, 20 s left, 3 of 9 files"]


def test_texts() -> None:
    assert [size_text(n) for n in (0, 999, 1500, 2.5e6, 3e9, 4e12)] == [
        *("0 B", "999 B", "1.5 kB", "2.5 MB", "3 GB", "4 TB")
    ]
    assert amount_text(1e6, 2e9, BYTES) == "1 MB of 2 GB"
    assert rate_text(2e6, BYTES) == "2 MB/s"
    assert rate_text(0, "videos") == ""
    assert [exact_duration_text(s) for s in (0.4, 75, 3720)] == ["0 s", "1 min 15 s", "1 h 2 min"]


def test_tracked_yields_every_item() -> None:
    assert list(tracked("abc", "reading", 3, "letters")) == ["a", "b", "c"]


def run_on_terminal(after: float, step: float, tmp_path: Path) -> tuple[bytes, bytes]:
    """Run the script with a terminal as stderr; return its stdout and what the terminal got."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(after=after, step=step))
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        screen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            screen += part
        assert process.stdout
        out = process.stdout.read()
    os.close(ours)
    assert process.returncode == 0, screen.decode()
    return out, screen


def test_a_terminal_gets_a_bar_and_stdout_does_not(tmp_path: Path) -> None:
    out, screen = run_on_terminal(0.01, 0.15, tmp_path)
    assert out == RESULTS
    text = screen.decode()
    assert "reading" in text
    assert "of 4 videos" in text
    assert r"[bold]file\x1b]0;x" in text
    assert "x" * 50 not in text
    assert "thinking" in text
    # Each note and each line of the log stands on a line of its own.
    shown = [line.strip("\r").rsplit("\x1b[2K", 1)[-1] for line in text.split("\n")]
    assert [line for line in shown if "note" in line] == [f"note {n}" for n in range(4)]
    warnings = [line for line in shown if "warning" in line]
    assert [re.sub(r"^[-0-9]+ [:,0-9]+ ", "", line) for line in warnings] == [
        f"WARNING root: warning {n}" for n in range(4)
    ]


def test_no_bar_for_quick_work(tmp_path: Path) -> None:
    out, screen = run_on_terminal(60, 0, tmp_path)
    assert out == RESULTS
    shown = screen.decode().replace("\r", "").splitlines()
    assert [line.rpartition(" root: ")[2] for line in shown] == [
        f"{kind} {number}" for number in range(4) for kind in ("note", "warning")
    ]


def test_work_without_a_number_shows_its_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_lines, "time", SimpleNamespace(monotonic=lambda: 7.0))
    with WaitingLines("thinking", pause_s=0.01):
        wait_until(lambda: "thinking: 0 s" in capsys.readouterr().err, "the first line")
    assert capsys.readouterr().err.endswith("thinking: done in 0 s\n")
    with WaitingLines("thinking"):
        pass
    assert capsys.readouterr().err == ""
