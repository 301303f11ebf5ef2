"""Run the worker as a process, and kill or stop it while it processes forty videos.

Uploads notify a queue of moto. An HTTP server stands for Lambda, and runs the real pipeline with
painted faces.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from integration.painted_function import painted_pipeline
from support.needs import REPOSITORY
from support.queues import Queues, function_error
from support.servers import Reply, serve_function
from support.videos import paint_video, painted_gallery
from support.waiting import wait_until

from devstack.processes import Process, Processes
from rollcall.core.keys import result_key
from rollcall.core.results import parse_csv
from rollcall.function.aws_lambda import answer_event
from rollcall.function.function_service import FunctionService
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.worker.queue_registration import register

COLOURS = ("red", "green", "blue", "yellow")
Before = Callable[[int], Reply | None]


class PaintedLambda:
    """Recognises videos and sends their results, unless `before` returns another answer."""

    def __init__(self, queues: Queues, before: Before) -> None:
        self._before = before
        self._service = FunctionService(
            lambda: replace(painted_pipeline(queues.settings), results=queues.result)
        )
        self._lock = threading.Lock()
        self.calls = 0
        self.running = 0

    def reply(self, call: dict[str, Any]) -> Reply:
        with self._lock:
            self.calls += 1
            self.running += 1
            number = self.calls
        try:
            return self._before(number) or self._recognised(call)
        finally:
            with self._lock:
                self.running -= 1

    def _recognised(self, call: dict[str, Any]) -> Reply:
        event = json.loads(call["raw"])
        return 200, {}, json.dumps(answer_event(self._service, event)).encode()


class Flow:
    """Queues, a Lambda, and workers that the tests start and kill."""

    def __init__(
        self, queues: Queues, function: PaintedLambda, url: str, processes: Processes
    ) -> None:
        self.queues = queues
        self.function = function
        self._url = url
        self._processes = processes

    def start(self) -> Process:
        environ = {name: os.environ[name] for name in ("PATH", "HOME")}
        environ |= {n: v for n, v in os.environ.items() if n.startswith("COVERAGE_")}
        values = self.queues.values | {"LAMBDA_ENDPOINT_URL": self._url, "MAX_INFLIGHT": "4"}
        argv = [sys.executable, str(REPOSITORY / "openstack_handler.py")]
        process = Process("worker", argv, environ | values, self.queues.folder.parent)
        return self._processes.add(process)

    def counts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.queues.folder / "worker.json").read_text())
        return found


@pytest.fixture
def visibility_s() -> int:
    """VISIBILITY_TIMEOUT_S. It is long, so that a slow worker does not lose a message."""
    return 120


@pytest.fixture
def queues(moto_url: str, tmp_path: Path, visibility_s: int) -> Queues:
    gallery = painted_gallery(**{colour: colour for colour in COLOURS})
    (tmp_path / "gallery.npz").write_bytes(render_gallery(gallery))
    made = Queues(
        moto_url,
        tmp_path,
        ENCODINGS=str(tmp_path / "gallery.npz"),
        VISIBILITY_TIMEOUT_S=str(visibility_s),
    )
    register(made.settings)
    return made


@contextmanager
def flowing(queues: Queues, before: Before = lambda number: None) -> Iterator[Flow]:
    function = PaintedLambda(queues, before)
    with serve_function(function.reply) as url, Processes() as processes:
        yield Flow(queues, function, url, processes)


def upload_forty(queues: Queues, folder: Path) -> dict[str, str]:
    """Upload forty videos, and return the colour of each video's face by key."""
    paths = {
        colour: paint_video(folder / f"{colour}.mp4", [colour], frames_each=3) for colour in COLOURS
    }
    wanted = {
        f"class {number:02}/é+{COLOURS[number % 4]}.mp4": COLOURS[number % 4]
        for number in range(40)
    }
    for key, colour in wanted.items():
        queues.store.upload(paths[colour], queues.settings.input_bucket, key)
    return wanted


def assert_right(queues: Queues, wanted: dict[str, str]) -> None:
    files = queues.files()
    found = {key: [row["name"] for row in parse_csv(text.encode())] for key, text in files.items()}
    assert found == {key: [colour] for key, colour in wanted.items()}
    for key, text in files.items():
        stored = queues.store.read(queues.settings.output_bucket, result_key(key), 1 << 20)
        assert text.encode() == stored
    assert not queues.dead_letters()


@pytest.mark.parametrize("visibility_s", [3])
def test_sigkill_of_the_worker_loses_none_of_forty_videos(queues: Queues, tmp_path: Path) -> None:
    wanted = upload_forty(queues, tmp_path)
    with flowing(queues) as flow:
        for number in (5, 15, 25):
            worker = flow.start()
            wait_until(lambda: len(queues.files()) >= number, f"{number} files")  # noqa: B023
            worker.kill()
            on_disk = set(queues.files())
        flow.start()
        wait_until(lambda: len(queues.files()) == 40, "all forty files")
        assert on_disk <= set(queues.files())
        assert_right(queues, wanted)
        assert not list(queues.folder.rglob("*.part"))


def test_failed_calls_of_the_lambda_are_retried(queues: Queues, tmp_path: Path) -> None:
    def every_third(number: int) -> Reply | None:
        return function_error() if number % 3 == 0 else None

    wanted = upload_forty(queues, tmp_path)
    with flowing(queues, every_third) as flow:
        worker = flow.start()
        wait_until(lambda: len(queues.files()) == 40, "all forty files")
        worker.stop()
        counts = flow.counts()
    assert_right(queues, wanted)
    assert counts["events"] == counts["invoked"] == counts["written"] == 40
    assert counts["retried"] == flow.function.calls // 3
    assert 1 < counts["most_at_once"] <= 4
    assert counts["buckets_empty_at_first"] is False


def test_invalid_messages_become_dead_letters_and_the_others_are_processed(
    queues: Queues, tmp_path: Path
) -> None:
    for queue in (queues.input, queues.result):
        queue.send("poison", {})
    wanted = upload_forty(queues, tmp_path)
    with flowing(queues) as flow:
        flow.start()
        wait_until(lambda: len(queues.files()) == 40, "all forty files")
        wait_until(lambda: flow.counts()["dead"] == 2, "two dead letters")
    letters = queues.dead_letters()
    assert [each.body for each in letters] == ["poison"] * 2
    assert {each.attributes["source"] for each in letters} == {
        queues.input.name,
        queues.result.name,
    }
    assert all("not JSON" in each.attributes["reason"] for each in letters)
    assert set(queues.files()) == set(wanted)


@contextmanager
def four_in_flight(queues: Queues, folder: Path) -> Iterator[tuple[Flow, Process, threading.Event]]:
    """Start a worker with forty videos. Its first four calls wait until the event is set."""
    go_on = threading.Event()

    def wait(number: int) -> None:
        go_on.wait(180)

    upload_forty(queues, folder)
    with flowing(queues, wait) as flow:
        worker = flow.start()
        wait_until(lambda: flow.function.running == 4, "four calls in flight")
        yield flow, worker, go_on


def test_sigterm_lets_the_calls_in_flight_finish(queues: Queues, tmp_path: Path) -> None:
    with four_in_flight(queues, tmp_path) as (flow, worker, go_on):
        os.kill(worker.pid, signal.SIGTERM)
        wait_until(lambda: b"finishing" in worker.log.read_bytes(), "the worker to log the signal")
        go_on.set()
        assert worker.wait(180) == 0
        assert flow.function.calls == 4
        assert flow.counts()["invoked"] == 4
    left = [each for each in iter(lambda: queues.input.receive(10, 1, 60), []) for each in each]
    assert len(left) == 36, "messages that were not started are visible in the queue"


def test_a_second_sigterm_ends_the_worker_at_once(queues: Queues, tmp_path: Path) -> None:
    with four_in_flight(queues, tmp_path) as (_, worker, go_on):
        for _ in range(2):
            os.kill(worker.pid, signal.SIGTERM)
            wait_until(
                lambda: b"finishing" in worker.log.read_bytes(), "the worker to log the signal"
            )
        assert worker.wait(180) == 128 + signal.SIGTERM
        go_on.set()
