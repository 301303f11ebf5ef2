"""`openstack_handler.py --register` and `--replay`, and `check.py --flow openstack`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.queues import Queues, csv_of

from rollcall.cli import check
from rollcall.cli import worker_command as worker
from rollcall.core.file_names import file_of_key
from rollcall.stores.boto import s3_client, sqs_client
from rollcall.worker.result_files import ResultFiles

KEYS = ("a.mp4", "b.mp4")


@pytest.fixture
def queues(moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queues:
    monkeypatch.chdir(tmp_path)  # a folder without credentials.env
    return Queues(moto_url, tmp_path)


def run(command: Any, queues: Queues, *args: str, **values: str) -> Result:
    return CliRunner().invoke(command, args, env=queues.values | values)


def configuration(queues: Queues) -> Any:
    bucket = queues.settings.input_bucket
    s3, sqs = s3_client(queues.settings), sqs_client(queues.settings)
    found = s3.get_bucket_notification_configuration(Bucket=bucket)
    policy = sqs.get_queue_attributes(QueueUrl=queues.input.url, AttributeNames=["Policy"])
    return found["QueueConfigurations"], policy["Attributes"]["Policy"]


def test_register_lets_the_bucket_fill_the_queue_and_changes_nothing_twice(queues: Queues) -> None:
    assert run(worker.main, queues, "--register").exit_code == 0
    once = configuration(queues)
    assert run(worker.main, queues, "--register").exit_code == 0
    assert configuration(queues) == once
    notifications, policy = once
    assert {each["QueueArn"].rpartition(":")[2] for each in notifications} == {queues.input.name}
    (statement,) = json.loads(policy)["Statement"]
    account = statement["Resource"].split(":")[4]
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": account}
    source = statement["Condition"]["ArnLike"]["aws:SourceArn"]
    assert source == f"arn:aws:s3:::{queues.settings.input_bucket}"
    for key in ("a.mp4", "A.MP4", "notes.txt"):
        queues.store.write(queues.settings.input_bucket, key, b"", "", {})
    bodies = [json.loads(each.body) for each in iter_all(queues)]
    keys = [record["s3"]["object"]["key"] for body in bodies for record in body.get("Records", ())]
    assert sorted(keys) == ["A.MP4", "a.mp4"]


def iter_all(queues: Queues) -> list[Any]:
    return [each for part in iter(lambda: queues.input.receive(10, 0, 60), []) for each in part]


def test_register_keeps_policies_and_notifications_of_others(queues: Queues) -> None:
    sqs, s3 = sqs_client(queues.settings), s3_client(queues.settings)
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    theirs = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queues.input.url, Attributes={"Policy": theirs})
    bucket = queues.settings.input_bucket
    queues.store.create_bucket(bucket)
    attributes = sqs.get_queue_attributes(QueueUrl=queues.dead.url, AttributeNames=["QueueArn"])
    other = {
        "Id": "theirs",
        "QueueArn": attributes["Attributes"]["QueueArn"],
        "Events": ["s3:ObjectRemoved:*"],
    }
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [other]}
    )
    assert run(worker.main, queues, "--register").exit_code == 0
    notifications, policy = configuration(queues)
    assert policy == theirs
    assert "theirs" in {each["Id"] for each in notifications}


def test_register_reports_the_right_url_of_a_queue(queues: Queues) -> None:
    wrong = queues.result.url.replace("123456789012", "999999999999")
    done = run(worker.main, queues, "--register", RESULT_QUEUE_URL=wrong)
    assert done.exit_code == 2
    assert f"RESULT_QUEUE_URL should be {queues.result.url}" in done.stderr


def test_every_command_names_a_queue_setting_that_is_missing(queues: Queues) -> None:
    for args in ([], ["--register"], ["--replay"]):
        done = run(worker.main, queues, *args, DEAD_LETTER_QUEUE_URL="")
        assert done.exit_code == 2
        assert "DEAD_LETTER_QUEUE_URL is not set" in done.stderr


def test_replay_puts_each_dead_letter_back_where_it_came_from(queues: Queues) -> None:
    for queue in (queues.input, queues.result):
        attributes = {"source": queue.name, "code": "bad", "reason": "why"}
        queues.dead.send(f"of {queue.name}", attributes)
    queues.dead.send("of somebody else", {})
    done = run(worker.main, queues, "--replay")
    assert done.output == "put back 2 dead letters\n"
    for queue in (queues.input, queues.result):
        assert [each.body for each in queue.receive(10, 1, 1)] == [f"of {queue.name}"]


class Round:
    """The state after a correct first run, which tests change in one place."""

    def __init__(self, queues: Queues) -> None:
        self.queues = queues
        self.mapping = queues.folder.parent / "mapping"
        self.mapping.write_text("".join(f"{key}:physics,junior\n" for key in KEYS))
        self.files = ResultFiles(queues.folder)
        for bucket in (queues.settings.input_bucket, queues.settings.output_bucket):
            queues.store.create_bucket(bucket)
        for key in KEYS:
            queues.store.write(queues.settings.input_bucket, key, key.encode(), "", {})
            self.result(key)
            self.files.write(key, csv_of(key).encode(), 1)
        self.counts: dict[str, Any] = {
            "buckets_empty_at_first": True,
            "events": 2,
            "invoked": 2,
            "most_at_once": 2,
            "written": 2,
            "outdated": 0,
        }

    def result(self, key: str) -> None:
        settings, store = self.queues.settings, self.queues.store
        metadata = {"source-etag": store.head(settings.input_bucket, key).etag}
        body, result = csv_of(key).encode(), key.replace(".mp4", ".csv")
        store.write(settings.output_bucket, result, body, "text/csv", metadata)

    def check(self) -> Result:
        (self.queues.folder / "worker.json").write_text(json.dumps(self.counts))
        args = ("--flow", "openstack", "--mapping", str(self.mapping))
        return run(check.main, self.queues, *args)


def test_all_counts_of_a_correct_first_run_are_right(queues: Queues) -> None:
    done = Round(queues).check()
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-8:] == [
        "✓ both buckets were empty at first",
        "✓ 2 objects in the input bucket, for 2 videos",
        "✓ 2 events taken from the input queue",
        "✓ 2 calls of the Lambda, up to 2 at once",
        "✓ 2 objects in the output bucket",
        "✓ 2 messages taken from the result queue, 2 files on disk",
        "✓ 2 of 2 files right",
        "2/2 correct",
    ]


def more_input(it: Round) -> None:
    it.queues.store.write(it.queues.settings.input_bucket, "c.mp4", b"", "", {})


def lost_file(it: Round) -> None:
    (it.queues.folder / file_of_key("a.mp4")).unlink()


def wrong_file(it: Round) -> None:
    it.files.write("a.mp4", b"error,message\r\nx,y\r\n", 2)


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (lambda it: it.counts.update(buckets_empty_at_first=False), ["both buckets"]),
        (lambda it: it.counts.update(buckets_empty_at_first=None), ["both buckets"]),
        (more_input, ["3 objects in the input"]),
        (lambda it: it.counts.update(events=3), ["3 events"]),
        (lambda it: it.counts.update(invoked=3), ["3 calls"]),
        (lambda it: it.counts.update(most_at_once=1), ["2 calls of the Lambda, up to 1"]),
        (lambda it: it.counts.update(written=1), ["1 messages"]),
        (lost_file, ["2 messages taken from the result queue, 1 files", "1 of 2 files"]),
        (wrong_file, ["1 of 2 files"]),
    ],
)
def test_each_wrong_count_is_reported(
    queues: Queues, spoil: Callable[[Round], object], wrong: list[str]
) -> None:
    it = Round(queues)
    spoil(it)
    done = it.check()
    assert done.exit_code == 1
    reported = [line.removeprefix("✗ ") for line in done.stdout.splitlines() if line[0] == "✗"]
    assert len(reported) == len(wrong)
    assert all(line.startswith(start) for line, start in zip(reported, wrong, strict=True))


def test_a_missing_result_is_reported_by_both_parts_of_the_check(queues: Queues) -> None:
    it = Round(queues)
    queues.store.delete(queues.settings.output_bucket, "a.csv")
    done = it.check()
    assert done.exit_code == 1
    assert "✗ 1 objects in the output bucket" in done.stdout
    assert "1/2 correct" in done.stdout


def test_a_check_without_counts_says_on_which_machine_to_run_it(queues: Queues) -> None:
    it = Round(queues)
    done = run(check.main, queues, "--flow", "openstack", "--mapping", str(it.mapping))
    assert done.exit_code == 1
    assert "with its RESULTS_FOLDER" in done.stderr
