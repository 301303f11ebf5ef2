"""The worker, with queues of a moto server over HTTP and a stand-in for the Lambda."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.databases import open_file
from support.index_samples import appearance, indexed
from support.needs import REPOSITORY
from support.queues import Queues, StandInLambda, csv_of, function_error
from support.servers import Reply, serve_function
from support.stored_reports import REPORTS, store_report
from support.waiting import wait_until

from rollcall.cli.worker_command import opened_indexer
from rollcall.core.errors import SettingsError
from rollcall.core.retry import AttemptResult, RetryPolicy
from rollcall.core.settings import Settings, parse_settings
from rollcall.index.indexer import Indexer
from rollcall.index.report_reader import ReportReader
from rollcall.index.sql_index import SqlIndex
from rollcall.logs import set_up_logs
from rollcall.stores.boto import sqs_client
from rollcall.stores.memory import MemoryStore
from rollcall.worker import result_files
from rollcall.worker.counters import Counters
from rollcall.worker.dead_letters import DeadLetters, replay
from rollcall.worker.result_files import ResultFiles
from rollcall.worker.worker_service import Worker

Before = Callable[[int, str], Reply | None]


def quick_policy(settings: Settings) -> RetryPolicy:
    """Retries come within a second, even if an answer asks for five."""
    policy = RetryPolicy.from_settings(settings)
    return replace(policy, first_delay_s=0.1, max_delay_s=1.0, min_busy_delay_s=0.01)


@pytest.fixture
def queues(moto_url: str, tmp_path: Path) -> Queues:
    return Queues(moto_url, tmp_path, MAX_ATTEMPTS="3")


@contextmanager
def working(
    queues: Queues,
    before: Before = lambda number, key: None,
    indexer: Indexer | None = None,
) -> Iterator[StandInLambda]:
    """Run a worker, and yield the Lambda that it calls."""
    function = StandInLambda(queues, before)
    stop = threading.Event()
    with serve_function(function.reply) as url:
        settings = parse_settings({**queues.values, "LAMBDA_ENDPOINT_URL": url})
        worker = Worker(settings, indexer=indexer, policy=quick_policy(settings), poll_s=1)
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        try:
            yield function
        finally:
            stop.set()
            thread.join(60)
            assert not thread.is_alive()


def counts(queues: Queues) -> dict[str, int]:
    return json.loads((queues.folder / "worker.json").read_text())


def received(queues: Queues) -> int:
    """The number of results received, including those that came too late to be written."""
    found = counts(queues)
    return found["written"] + found["outdated"]


def wait_dead(queues: Queues, count: int) -> dict[str, str]:
    """Wait for `count` dead letters, and return their codes by body."""
    found: dict[str, str] = {}

    def there() -> bool:
        found.update({each.body: each.attributes["code"] for each in queues.dead_letters()})
        return len(found) >= count

    wait_until(there, f"{count} dead letters")
    return found


HOSTILE = [
    "../../etc/passwd.mp4",
    "/absolute.mp4",
    "..",
    ".hidden.mp4",
    "a.mp4",
    "A.mp4",
    "é.mp4",
    "e\u0301.mp4",
    "x" * 300 + ".mp4",
    "語" * 336 + ".mp4",
    "a.txt/b.mp4",
    "%2e%2e%2f.mp4",
    "worker.json",
    "line\nbreak.mp4",
]


def test_every_event_becomes_a_call_and_every_result_a_file(queues: Queues) -> None:
    for key in HOSTILE:
        queues.input.send(queues.event(key + ".mp4"), {})
    keys = {key + ".mp4" for key in HOSTILE}
    with working(queues) as function:
        wait_until(lambda: len(queues.files()) == len(keys), "the files")
    assert queues.files() == {key: csv_of(key) for key in keys}
    assert set(function.calls) == keys
    assert counts(queues)["events"] == counts(queues)["written"] == len(keys)
    inside = queues.folder.resolve()
    for path in inside.rglob("*"):
        assert path.resolve().is_relative_to(inside)
        assert len(path.name.encode()) <= 255
    assert {path.name for path in inside.parent.iterdir()} == {"results"}


def test_every_result_is_put_into_the_index_from_its_report(queues: Queues, tmp_path: Path) -> None:
    bucket, store = queues.values["INPUT_BUCKET"], MemoryStore()
    video = indexed("a.mp4", appearance(0, "Ada"), bucket=bucket)
    store_report(store, video)
    queues.input.send(queues.event("a.mp4"), {})
    with closing(open_file(tmp_path / "index.sqlite3")) as database:
        index = SqlIndex(database)
        with working(queues, indexer=Indexer(database, ReportReader(store, REPORTS))):
            id_ = wait_until(lambda: index.id_of(bucket, "a.mp4"), "the video in the index")
        assert index.get(id_) == video
    assert queues.files().keys() == {"a.mp4"}


def test_a_result_waits_for_an_index_that_cannot_be_written(queues: Queues, tmp_path: Path) -> None:
    with closing(open_file(tmp_path / "index.sqlite3")) as database:
        indexer = Indexer(database, ReportReader(MemoryStore(), REPORTS))
    queues.result.send(queues.result_message("a.mp4"), {})
    with working(queues, indexer=indexer):
        assert wait_dead(queues, 1).popitem()[1] == "inbox_unavailable"


def test_the_worker_fills_an_index_only_if_a_database_is_named(
    queues: Queues, tmp_path: Path
) -> None:
    with opened_indexer(parse_settings(queues.values)) as indexer:
        assert indexer is None
    url = f"sqlite:///{tmp_path / 'index.sqlite3'}"
    with opened_indexer(parse_settings({**queues.values, "DATABASE_URL": url})) as indexer:
        assert indexer is not None
    values = {**queues.values, "DATABASE_URL": url, "REPORT_BUCKET": ""}
    with (
        pytest.raises(SettingsError, match="REPORT_BUCKET is empty"),
        opened_indexer(parse_settings(values)),
    ):
        pass


def test_a_key_with_a_nul_character_has_a_file_too(queues: Queues) -> None:
    queues.result.send(queues.result_message("nul\x00.mp4"), {})
    with working(queues):
        wait_until(lambda: "nul\x00.mp4" in queues.files(), "the file")


def test_a_message_that_is_delivered_twice_leaves_one_file(queues: Queues) -> None:
    for _ in range(2):
        queues.input.send(queues.event("a.mp4"), {})
        queues.result.send(queues.result_message("b.mp4"), {})
    with working(queues):
        wait_until(lambda: received(queues) == 4, "four results")
    assert queues.files() == {key: csv_of(key) for key in ("a.mp4", "b.mp4")}


def test_the_lambda_is_called_for_each_video_of_a_message(queues: Queues) -> None:
    records = [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": queues.settings.input_bucket}, "object": {"key": key}},
        }
        for key in ("a+b.mp4", "c.mp4")
    ]
    topic = {"Type": "Notification", "MessageId": "m", "Message": json.dumps({"Records": records})}
    queues.input.send(json.dumps(topic), {})
    with working(queues) as function:
        wait_until(lambda: len(queues.files()) == 2, "both files")
    assert function.calls == {"a b.mp4": 1, "c.mp4": 1}


POISON = {
    "no JSON": "not JSON",
    "an event of something else": '{"hello": "world"}',
    "a list": "[]",
}


def test_invalid_messages_become_dead_letters_and_do_not_delay_others(queues: Queues) -> None:
    test_event = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"})
    wrong_bucket = json.loads(queues.result_message("x.mp4"))
    wrong_bucket["video"]["bucket"] = "other"
    bad_results = [
        *POISON.values(),
        json.dumps(wrong_bucket),
        queues.result_message("x.mp4", csv="not,ours\r\n1,2\r\n"),
        queues.result_message("x.mp4", csv=None, output={"bucket": "other", "key": "x.csv"}),
        queues.result_message("x.mp4", csv=None),
        queues.result_message("x.mp4", status="fine"),
        queues.result_message("x.mp4", csv=7),
    ]
    for queue, bodies in (
        (queues.input, [*POISON.values(), test_event]),
        (queues.result, bad_results),
    ):
        for body in bodies:
            queue.send(body, {})
    queues.store.create_bucket(queues.settings.output_bucket)
    queues.input.send(queues.event("good.mp4"), {})
    with working(queues):
        wait_until(lambda: queues.files() == {"good.mp4": csv_of("good.mp4")}, "the good one")
        dead = wait_dead(queues, len(set(bad_results)))
        every = len(bad_results) + len(POISON)
        wait_until(lambda: counts(queues)["dead"] == every, "the same messages of the other queue")
        wait_until(lambda: counts(queues)["ignored"], "the test event")
    assert dead.keys() == set(bad_results)
    assert set(dead.values()) == {"bad_event", "gone"}
    assert counts(queues)["ignored"] == 1
    assert counts(queues)["dead"] == every


def test_one_bad_record_does_not_affect_the_others(queues: Queues) -> None:
    good = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": queues.settings.input_bucket}, "object": {"key": "a.mp4"}},
    }
    queues.input.send(json.dumps({"Records": [{"eventSource": "else"}, good]}), {})
    with working(queues):
        wait_until(lambda: "a.mp4" in queues.files(), "the good record's file")
        wait_dead(queues, 1)


def test_a_failed_video_has_a_file_with_its_error(queues: Queues) -> None:
    error = {"code": "too_large", "message": "=more than MAX_VIDEO_BYTES", "retryable": False}
    body = queues.result_message("a.mp4", status="failed", csv=None, error=error)

    def refuse(number: int, key: str) -> Reply:
        queues.result.send(body, {})
        return 200, {}, json.dumps({"statusCode": 413, "error": error}).encode()

    queues.input.send(queues.event("a.mp4"), {})
    with working(queues, refuse) as function:
        wait_until(lambda: "a.mp4" in queues.files(), "the file")
    text = "error,message\r\ntoo_large,'=more than MAX_VIDEO_BYTES\r\n"
    assert queues.files() == {"a.mp4": text}
    assert function.calls == {"a.mp4": 1}, "a refused video is not called for again"
    assert counts(queues)["failed"] == 1


def test_cells_that_a_spreadsheet_would_run_are_made_safe(queues: Queues) -> None:
    header = csv_of("a.mp4").split("\r\n")[0]
    csv = f'{header}\r\n=1,"x;=2","a\x1b[2J",0.00,0.00,1,=3\r\n'
    queues.result.send(queues.result_message("a.mp4", csv=csv), {})
    with working(queues):
        wait_until(lambda: "a.mp4" in queues.files(), "the file")
    row = "'=1,\"x;'=2\",a\\x1b[2J,0.00,0.00,1,'=3"
    assert queues.files() == {"a.mp4": f"{header}\r\n{row}\r\n"}


def test_an_earlier_result_does_not_replace_a_later_one(queues: Queues) -> None:
    """The earlier result is delivered again when the later one is already on disk."""
    queues.result.send(queues.result_message("a.mp4", csv=csv_of("earlier")), {})
    (earlier,) = queues.result.receive(1, 5, 3600)
    queues.result.send(queues.result_message("a.mp4", csv=csv_of("later")), {})
    with working(queues):
        wait_until(lambda: "a.mp4" in queues.files(), "the later one")
        queues.result.change_visibility(earlier, 0)
        wait_until(lambda: counts(queues)["outdated"] == 1, "the earlier one")
    assert queues.files() == {"a.mp4": csv_of("later")}


def test_a_result_too_long_for_its_message_is_read_from_the_bucket(queues: Queues) -> None:
    queues.store.create_bucket(queues.settings.output_bucket)
    bucket, body = queues.settings.output_bucket, csv_of("a.mp4").encode()
    queues.store.write(bucket, "a.csv", body, "text/csv", {})
    queues.result.send(queues.result_message("a.mp4", csv=None), {})
    with working(queues):
        wait_until(lambda: queues.files() == {"a.mp4": csv_of("a.mp4")}, "the file")


@pytest.mark.parametrize(
    "trouble",
    [
        function_error(),
        (429, {}, b'{"Type": "User", "message": "Rate Exceeded."}'),
        (500, {}, b"{}"),
        (200, {}, b'{"statusCode": 503, "error": {"code": "store_unavailable", "message": "x"}}'),
        (200, {}, b'"no answer of ours"'),
    ],
    ids=["function error", "busy", "service down", "store down", "strange"],
)
def test_temporary_failures_are_retried(queues: Queues, trouble: Reply) -> None:
    if trouble[0] == 429:
        headers = {"X-Amzn-ErrorType": "TooManyRequestsException"}
        trouble = (429, headers, trouble[2])
    queues.input.send(queues.event("a.mp4"), {})
    with working(queues, lambda number, key: trouble if number < 3 else None) as function:
        wait_until(lambda: queues.files() == {"a.mp4": csv_of("a.mp4")}, "the file")
    assert function.calls == {"a.mp4": 3}
    assert not queues.dead_letters()


def test_after_unexpected_errors_the_lambda_is_called_three_times(queues: Queues) -> None:
    queues.values["MAX_ATTEMPTS"] = "20"
    queues.input.send(queues.event("a.mp4"), {})
    failure = function_error("internal: call 1", "UnexpectedError")
    with working(queues, lambda number, key: failure) as function:
        wait_until(queues.dead_letters, "the dead letter")
    assert function.calls == {"a.mp4": 3}


FOREIGN: dict[str, Reply] = {
    "killed": function_error("RequestId: 7 Error: Runtime exited with error: signal: killed"),
    "time-out": function_error("Task timed out after 300.00 seconds", "Sandbox.Timedout"),
    "another function's error": function_error("internal: disk full", "RuntimeError"),
    "our error, but an expected one": function_error("store_unavailable: x", "TransientError"),
    "another function's answer": (200, {}, b'{"ok": true}'),
    "no JSON": (200, {}, b"null"),
    "a status that is not a number": (200, {}, b'{"statusCode": Infinity}'),
    "another function's 404": (200, {}, b'{"statusCode": 404, "body": "no such route"}'),
    "a code that is not ours": (
        200,
        {},
        b'{"statusCode": 422, "error": {"code": "x", "message": "y", "retryable": false}}',
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_failures_of_other_programs_are_retried_until_the_last_attempt(
    queues: Queues, kind: str
) -> None:
    queues.values["MAX_ATTEMPTS"] = "5"
    queues.input.send(queues.event("a.mp4"), {})
    with working(queues, lambda number, key: FOREIGN[kind] if number < 5 else None) as function:
        wait_until(lambda: queues.files() == {"a.mp4": csv_of("a.mp4")}, "the file")
    assert function.calls == {"a.mp4": 5}
    assert not queues.dead_letters()


def test_busy_answers_use_up_no_attempts(queues: Queues) -> None:
    busy: Reply = (429, {"X-Amzn-ErrorType": "TooManyRequestsException"}, b"{}")
    queues.input.send(queues.event("a.mp4"), {})
    with working(queues, lambda number, key: busy if number < 6 else None) as function:
        wait_until(lambda: "a.mp4" in queues.files(), "the file")
    assert function.calls == {"a.mp4": 6}


def test_a_lasting_failure_is_a_dead_letter_that_can_be_replayed(queues: Queues) -> None:
    queues.input.send(queues.event("a.mp4"), {})
    with working(queues, lambda number, key: function_error("bad day\n")) as function:
        (letter,) = wait_dead(queues, 1)
    assert function.calls == {"a.mp4": 3}
    assert letter == queues.event("a.mp4")
    wait_until(lambda: len(queues.dead.receive(1, 1, 0)) == 1, "the dead letter to be visible")
    assert replay(queues.dead, {queues.input.name: queues.input}) == 1
    with working(queues):
        wait_until(lambda: "a.mp4" in queues.files(), "the file")


def test_a_replayed_result_does_not_replace_a_later_one(queues: Queues) -> None:
    """It became a dead letter and was replayed twice. Only the time of its first sending counts."""
    queues.result.send(queues.result_message("a.mp4", csv=csv_of("earlier")), {})
    ResultFiles(queues.folder)  # creates the folder
    dead_letters = DeadLetters(queues.dead, Counters(queues.folder))
    for _ in range(2):
        (earlier,) = queues.result.receive(1, 5, 60)
        dead_letters.bury(
            earlier, queues.result.name, AttemptResult("dead", "unavailable", "bad day")
        )
        queues.result.delete(earlier)
        queues.result.send(queues.result_message("a.mp4", csv=csv_of("later")), {})
        with working(queues):
            wait_until(lambda: "a.mp4" in queues.files(), "the later one")
        assert replay(queues.dead, {queues.result.name: queues.result}) == 1
    with working(queues):
        wait_until(lambda: counts(queues)["outdated"] == 1, "the earlier one")
    assert queues.files() == {"a.mp4": csv_of("later")}


def test_all_log_lines_of_a_video_have_the_same_work_id(
    queues: Queues, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rollcall")
    queues.input.send(queues.event("a.mp4"), {})
    with working(queues):
        wait_until(lambda: "a.mp4" in queues.files(), "the file")
    messages = [each.getMessage() for each in list(caplog.records)]
    lines = [each for each in messages if "'a.mp4'" in each]
    (finished,) = (line for line in lines if line.startswith("finished"))
    (written,) = (line for line in lines if line.startswith("file of"))
    assert re.fullmatch(r"finished 'a\.mp4': recognised, \d+ ms, work [0-9a-f]{16}", finished)
    assert finished[-16:] == written[-16:]


def test_the_json_lines_of_a_video_have_the_same_fields(
    queues: Queues, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "rollcall")
    queues.input.send(queues.event("a.mp4"), {})
    set_up_logs("json")
    try:
        with working(queues):
            wait_until(lambda: "file of 'a.mp4' written" in caplog.text, "the file")
        lines = [json.loads(line) for line in caplog.text.splitlines()]
    finally:
        set_up_logs("text")
    # The result may arrive before the answer to the call.
    about = {line["message"].split(" ")[0]: line for line in lines if "work" in line}
    called, written = about.pop("finished"), about.pop("file")
    assert not about
    for field in ("work", "key", "bucket", "trace_id"):
        assert called[field] == written[field]
    assert called["key"] == "a.mp4"


def gone_message(queues: Queues, key: str) -> str:
    error = {"code": "gone", "message": "it was deleted"}
    return queues.result_message(key, status="failed", csv=None, output=None, error=error)


def test_a_video_that_was_deleted_keeps_its_result(queues: Queues) -> None:
    """Its event was delivered twice, the second time after the video was deleted."""
    queues.result.send(queues.result_message("a.mp4"), {})
    (good,) = queues.result.receive(1, 5, 3600)
    queues.result.send(gone_message(queues, "a.mp4"), {})
    queues.result.send(gone_message(queues, "b.mp4"), {})
    with working(queues):
        wait_until(lambda: received(queues) == 2, "the messages that both are gone")
        assert {text.split(",")[0] for text in queues.files().values()} == {"error"}
        queues.result.change_visibility(good, 0)
        wait_until(lambda: received(queues) == 3, "the result, which arrives late")
        queues.result.send(gone_message(queues, "a.mp4"), {})
        wait_until(lambda: counts(queues)["outdated"] == 1, "the second message about a.mp4")
    assert queues.files()["a.mp4"] == csv_of("a.mp4")
    assert "it was deleted" in queues.files()["b.mp4"]


@pytest.mark.parametrize("claimed", ["", "soon", "-1", "9" * 30, "99999999999999", "١"])
def test_an_invalid_or_future_sent_time_is_replaced_by_the_queues(
    queues: Queues, claimed: str
) -> None:
    queues.result.send("x", {"sent_ms": claimed} if claimed else {})
    (message,) = queues.result.receive(1, 5, 60)
    assert message.sent_ms == message.queued_ms


def test_a_message_that_kills_the_worker_each_time_becomes_a_dead_letter(queues: Queues) -> None:
    queues.input.send(queues.event("a.mp4"), {})
    for _ in range(3):
        (message,) = queues.input.receive(1, 5, 60)
        queues.input.change_visibility(message, 0)
    with working(queues) as function:
        dead = wait_dead(queues, 1)
    assert list(dead.values()) == ["interrupted"]
    assert not function.calls


def test_a_call_longer_than_the_visibility_time_out_is_made_once(queues: Queues) -> None:
    queues.values["VISIBILITY_TIMEOUT_S"] = "6"

    def slow(number: int, key: str) -> None:
        threading.Event().wait(10)

    queues.input.send(queues.event("a.mp4"), {})
    with working(queues, slow) as function:
        wait_until(lambda: "a.mp4" in queues.files(), "the file")
    assert function.calls == {"a.mp4": 1}


def test_only_our_temporary_files_in_a_results_folder_are_removed(tmp_path: Path) -> None:
    """RESULTS_FOLDER may be mistyped, and be somebody's home folder, for example."""
    folder, result = tmp_path / "home", f".rollcall-result-{os.getpid()}-{'0' * 32}.part"
    others = ["film.mkv.part", "deep/download.part", "tmpabcd1234.part", "worker.part"]
    others += [".rollcall-result-notes.part", f".rollcall-result-1-{'0' * 32}.part"]  # 1 is alive
    for name in (*others, result, f"deep/{result}", f"long+/{result}"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    link = folder / "elsewhere+"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / result).write_text("mine")
    link.symlink_to(tmp_path / "other")
    before = {path for path in folder.rglob("*") if path.is_file()}
    ResultFiles(folder)
    assert {path for path in folder.rglob("*") if path.is_file()} == before
    Counters(folder)
    (folder / "worker.part").write_text("mine")
    ResultFiles(folder)
    gone = {folder / result, folder / "long+" / result}
    now = {path for path in folder.rglob("*") if path.is_file()}
    assert now - {folder / "worker.json"} == before - gone
    assert (tmp_path / "other" / result).exists()


def test_temporary_files_of_a_killed_worker_are_removed(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from rollcall.worker.result_files import ResultFiles; files = ResultFiles(Path('.'))\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "files.write('a.mp4', b'alice', 0)\n"
    )
    Counters(tmp_path)
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, check=False)
    assert {path.name for path in tmp_path.iterdir()} > {"worker.json"}
    ResultFiles(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"worker.json"}


def test_two_workers_of_one_folder_keep_the_later_result(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from rollcall.worker.result_files import ResultFiles; files = ResultFiles(Path('.'))\n"
        "for each in range(int(sys.argv[1]), 200, 2): files.write('a.mp4', b'%d' % each, each)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", script]
    both = [subprocess.Popen([*command, n], cwd=tmp_path, env=env) for n in "01"]
    assert [process.wait(180) for process in both] == [0, 0]
    assert (tmp_path / "a.mp4.txt").read_bytes() == b"199"


@pytest.mark.parametrize("where", ["input", "result"])
@pytest.mark.parametrize(
    ("body", "bad"),
    [
        ('{"bucket": "HALF", "key": "a.mp4"}', "\ud800"),
        ("HALF", "\udfff"),
        ("HALF", "\x00"),
        ("HALF", "\uffff"),
    ],
)
def test_a_message_that_is_not_text_becomes_a_dead_letter(
    queues: Queues, monkeypatch: pytest.MonkeyPatch, where: str, body: str, bad: str
) -> None:
    """SQS answers in JSON, which can contain half of a surrogate pair."""

    def broken(parsed: dict[str, Any], **_: Any) -> None:
        for message in parsed.get("Messages", ()):
            message["Body"] = message["Body"].replace("HALF", bad)
            for value in message.get("MessageAttributes", {}).values():
                value["StringValue"] = value["StringValue"].replace("HALF", bad)

    def client(settings: Settings) -> Any:
        made = sqs_client(settings)
        made.meta.events.register("after-call.sqs.ReceiveMessage", broken)
        return made

    monkeypatch.setattr("rollcall.worker.queues.sqs_client", client)
    source = getattr(queues, where)
    source.send(body, {"replay": "HALF"})
    with working(queues):
        wait_until(lambda: counts(queues)["dead"] == 1, "a dead letter")
    (letter,) = queues.dead.receive(10, 2, 60)
    assert letter.body == body.replace("HALF", f"\\u{ord(bad):04x}")
    assert letter.attributes["source"] == source.name


def test_no_result_is_lost_when_the_disk_is_full(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures, space = result_files.os.fsync, [], threading.Event()

    def full_at_first(handle: int) -> None:
        if not space.is_set():
            failures.append(handle)
            raise OSError(28, "No space left on device")
        real(handle)

    queues.values["MAX_ATTEMPTS"] = "100"
    queues.result.send(queues.result_message("a.mp4"), {})
    ResultFiles(queues.folder)  # creates the folder
    monkeypatch.setattr(result_files.os, "fsync", full_at_first)
    with working(queues):
        wait_until(lambda: len(failures) >= 2, "two failures")
        assert not queues.files()
        wait_until(lambda: not list(queues.folder.glob("*.part")), "no temporary file to be left")
        space.set()
        wait_until(lambda: "a.mp4" in queues.files(), "the file")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_counts_that_cannot_be_read_do_not_stop_the_work(queues: Queues, text: str) -> None:
    ResultFiles(queues.folder)
    (queues.folder / "worker.json").write_text(text)
    queues.result.send(queues.result_message("a.mp4"), {})
    with working(queues):
        wait_until(lambda: counts(queues)["written"] == 1, "the file")


def test_counts_continue_after_a_restart(queues: Queues) -> None:
    for number in (1, 2):
        queues.result.send(queues.result_message(f"{number}.mp4"), {})
        with working(queues):
            wait_until(lambda: counts(queues)["written"] == number, "the file")  # noqa: B023


@pytest.mark.parametrize("name", ["INPUT_QUEUE_URL", "RESULT_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"])
def test_the_worker_does_not_start_without_its_queues(queues: Queues, name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Worker(parse_settings({**queues.values, name: ""}))


@pytest.mark.parametrize(("inside", "empty"), [("", True), ("INPUT_BUCKET", False)])
def test_whether_the_buckets_were_empty_is_recorded_once(
    queues: Queues, inside: str, empty: bool
) -> None:
    for name in ("INPUT_BUCKET", "OUTPUT_BUCKET"):
        queues.store.create_bucket(queues.values[name])
    if inside:
        queues.store.write(queues.values[inside], "a.mp4", b"x", "", {})
    for _ in range(2):
        with working(queues):
            pass
        assert counts(queues)["buckets_empty_at_first"] is empty
        queues.store.write(queues.values["OUTPUT_BUCKET"], "a.csv", b"x", "", {})
