"""The whole flow on this machine: store -> notification -> inbox -> function -> CSV."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.buckets import clear_buckets
from support.videos import paint_video
from support.waiting import wait_until

from devstack.openfaas_stack import OpenFaasStack
from rollcall.cli.check import Checker, Row
from rollcall.cli.students import upload_students
from rollcall.core.errors import TransientError
from rollcall.core.expectations import Expectation, parse_mapping
from rollcall.core.keys import result_key
from rollcall.queues.open_queue import open_queue
from rollcall.stores.boto import s3_client
from rollcall.stores.s3 import S3Store

DEADLINE_S = 240.0


@pytest.fixture(scope="module")
def stack(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenFaasStack]:
    overrides = {"ENCODINGS": str(sample / "encoding"), "RECONCILE_S": "5"}
    folder = tmp_path_factory.mktemp("stack")
    with OpenFaasStack(folder, os.environ, overrides) as running:
        upload_students(running.settings, sample / "student_data.json")
        yield running


@pytest.fixture(autouse=True)
def _empty_buckets(stack: OpenFaasStack) -> Iterator[None]:
    yield
    clear_buckets(stack.settings)


def upload(stack: OpenFaasStack, videos: dict[str, Path]) -> None:
    """Upload videos, and retry uploads that fail."""
    # The embedded store answers an upload with 500 if it cannot push the event to the trigger.
    store = S3Store(s3_client(stack.settings))
    for key, path in videos.items():
        while True:
            try:
                store.upload(path, stack.settings.input_bucket, key)
                break
            except TransientError:
                time.sleep(0.2)


def work(stack: OpenFaasStack) -> list[tuple[str, str, int]]:
    """Return key, state and number of calls of all work in the inbox."""
    with closing(open_queue(stack.settings)) as queue:
        return [(each.key, each.state, each.calls) for each in queue.latest(10_000)]


def results(stack: OpenFaasStack) -> set[str]:
    store = S3Store(s3_client(stack.settings))
    return {info.key for info in store.list_objects(stack.settings.output_bucket)}


def wrong_results(stack: OpenFaasStack, mapping: dict[str, Expectation]) -> list[Row]:
    return [row for row in Checker(stack.settings, mapping).wait(DEADLINE_S) if not row.right]


def forty(sample: Path) -> tuple[dict[str, Path], dict[str, Expectation]]:
    """Return forty keys with a video of the sample each, and the people expected in them."""
    expected = parse_mapping((sample / "mapping").read_text())
    originals = sorted((sample / "videos").iterdir())
    videos = {f"{n:02}/{originals[n % 7].name}": originals[n % 7] for n in range(40)}
    return videos, {key: expected[path.name] for key, path in videos.items()}


def function_workers(stack: OpenFaasStack) -> list[int]:
    pid = stack.function.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_sigkill_of_trigger_and_workers_loses_none_of_forty_videos(
    stack: OpenFaasStack, sample: Path
) -> None:
    videos, mapping = forty(sample)
    uploader = threading.Thread(target=upload, args=(stack, videos))
    uploader.start()
    for number in (5, 12, 19):
        wait_until(lambda: len(results(stack)) >= number, f"{number} results", DEADLINE_S)  # noqa: B023
        stack.trigger.kill()
        done = {result_key(key) for key, state, _ in work(stack) if state == "done"}
        assert done <= results(stack), "a video is done but has no CSV"
        stack.trigger = stack.start_trigger()
        os.kill(function_workers(stack)[0], signal.SIGKILL)
    uploader.join()
    assert not wrong_results(stack, mapping)
    assert results(stack) == {result_key(key) for key in videos}
    wait_until(lambda: {state for _, state, _ in work(stack)} == {"done"}, "all work to be done")


def test_a_video_that_is_uploaded_again_after_clearing_gets_a_new_result(
    stack: OpenFaasStack, sample: Path
) -> None:
    videos = {"again.mp4": sample / "videos" / "lecture_1.mp4"}
    calls = []
    for _ in range(2):
        upload(stack, videos)
        wait_until(lambda: results(stack) == {"again.csv"}, "the result again.csv")
        wait_until(lambda: {s for _, s, _ in work(stack)} == {"done"}, "all work to be done")
        clear_buckets(stack.settings)
        calls.append(sum(n for key, _, n in work(stack) if key == "again.mp4"))
    assert calls == [1, 2]


def test_invalid_videos_become_dead_letters_and_valid_ones_are_processed(
    stack: OpenFaasStack, sample: Path, tmp_path: Path
) -> None:
    good = (sample / "videos" / "lecture_2.mp4").read_bytes()
    contents = {
        "empty.mp4": b"",
        "random.mp4": os.urandom(5000),
        "page.mp4": b"<!doctype html><html></html>",
        "cut.mp4": good[: len(good) // 2],
        "tiny.mp4": paint_video(tmp_path / "tiny.mp4", [], width=16, height=16).read_bytes(),
        "good.mp4": good,
    }
    for key, body in contents.items():
        (tmp_path / "upload").write_bytes(body)
        upload(stack, {f"odd/{key}": tmp_path / "upload"})
    wait_until(lambda: results(stack) == {"odd/tiny.csv", "odd/good.csv"}, "two results")
    wait_until(lambda: {s for _, s, _ in work(stack)} == {"done", "dead"}, "all work to settle")
    dead = {key: calls for key, state, calls in work(stack) if state == "dead"}
    assert dead == dict.fromkeys(
        ("odd/empty.mp4", "odd/random.mp4", "odd/page.mp4", "odd/cut.mp4"), 1
    )


def test_the_trigger_token_is_in_no_log(stack: OpenFaasStack) -> None:
    logs = "".join(path.read_text() for path in stack.folder.glob("*.log"))
    assert stack.settings.trigger_token not in logs


def birth(pid: int) -> str:
    """Return the start time of a process in kernel ticks; empty if it does not exist.

    Process ids are reused, so an id alone does not identify a process.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def test_sigterm_lets_the_call_in_flight_finish_and_leaves_nothing_running(
    sample: Path, tmp_path: Path
) -> None:
    with OpenFaasStack(tmp_path, os.environ, {"ENCODINGS": str(sample / "encoding")}) as running:
        upload_students(running.settings, sample / "student_data.json")
        pids = [running.store.pid, running.function.pid, running.trigger.pid]
        pids += function_workers(running)
        born = {pid: birth(pid) for pid in pids}
        upload(running, {"late.mp4": sample / "videos" / "late.mp4"})
        # Only the function reads videos. The reconciler also asks for their metadata.
        begun = "GET /input-bucket-video/late.mp4"
        wait_until(lambda: begun in running.store.log.read_text(), "the function's first bytes")
        for process in (running.function, running.trigger):
            os.kill(process.pid, signal.SIGTERM)
            process.wait(DEADLINE_S)
        assert results(running) == {"late.csv"}
        assert [state for _, state, _ in work(running)] == ["done"]
    wait_until(
        lambda: not any(began == birth(pid) for pid, began in born.items()),
        "the end of all processes",
    )
