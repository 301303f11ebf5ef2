"""The scripts in the root folder, with S3 and DynamoDB of a moto server over HTTP."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.needs import REPOSITORY
from support.settings import embedded_values
from support.videos import paint_video

from rollcall.cli import check, students, workload
from rollcall.core.results import render_csv
from rollcall.core.settings import Settings, parse_settings
from rollcall.core.types import Person, Student
from rollcall.stores.boto import dynamodb_client, s3_client
from rollcall.stores.dynamodb import DynamoStudents
from rollcall.stores.s3 import S3Store


class Buckets:
    """Buckets that only this test uses, and the environment variables with their names."""

    def __init__(self, url: str) -> None:
        name = uuid.uuid4().hex[:8]
        self.env = embedded_values(
            url,
            INPUT_BUCKET=f"in-{name}",
            OUTPUT_BUCKET=f"out-{name}",
            REPORT_BUCKET=f"reports-{name}",  # does not exist
            STUDENT_TABLE=f"t-{name}",
        )
        self.settings: Settings = parse_settings(self.env)
        self.store = S3Store(s3_client(self.settings))
        for bucket in (self.settings.input_bucket, self.settings.output_bucket):
            self.store.create_bucket(bucket)

    def recognised(self, key: str, name: str, student: Student) -> None:
        """Write a result as the function would."""
        video = self.store.head(self.settings.input_bucket, key)
        body = render_csv([Person(name, 0, 0, 1, 0.4)], {name: student})
        result, metadata = key.removesuffix(".mp4") + ".csv", {"source-etag": video.etag}
        self.store.write(self.settings.output_bucket, result, body, "text/csv", metadata)


@pytest.fixture
def buckets(moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Buckets]:
    monkeypatch.chdir(tmp_path)
    return Buckets(moto_url)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "week 1").mkdir(parents=True)
    paint_video(folder / "a.mp4", ["red"])
    paint_video(folder / "week 1" / "b+c.mp4", ["blue"])
    (folder / "notes.txt").write_text("no video")
    return folder


def run(command: object, buckets: Buckets, *args: str) -> Result:
    return CliRunner().invoke(command, args, env=buckets.env)  # type: ignore[arg-type]


def keys(buckets: Buckets, bucket: str) -> list[str]:
    return [info.key for info in buckets.store.list_objects(bucket)]


def test_workload_uploads_every_video_below_the_folder(buckets: Buckets, videos: Path) -> None:
    result = run(workload.main, buckets, str(videos))
    assert result.exit_code == 0, result.output
    assert keys(buckets, buckets.settings.input_bucket) == ["a.mp4", "week 1/b+c.mp4"]
    assert "uploaded 2 videos to" in result.output


@pytest.fixture
def filled(buckets: Buckets) -> Buckets:
    """Old objects in both buckets, one with a control character in its key."""
    for key in ("1.mp4", "2.mp4", "3.mp4", "4\x1b[2J.mp4"):
        buckets.store.write(buckets.settings.input_bucket, key, b"", "", {})
    buckets.store.write(buckets.settings.output_bucket, "1.csv", b"", "", {})
    return buckets


OLD = ["1.mp4", "2.mp4", "3.mp4", "4\x1b[2J.mp4"]
NEW = ["a.mp4", "week 1/b+c.mp4"]


def test_workload_clears_first_when_asked(filled: Buckets, videos: Path) -> None:
    result = run(workload.main, filled, str(videos), "--clear", "--yes")
    assert result.exit_code == 0, result.output
    assert keys(filled, filled.settings.input_bucket) == NEW
    assert keys(filled, filled.settings.output_bucket) == []
    assert f"removing 1 object of {filled.settings.output_bucket} at http" in result.stderr
    assert "5 objects removed" in result.stdout


def test_workload_clears_nothing_without_a_terminal_and_without_yes(
    filled: Buckets, videos: Path
) -> None:
    result = run(workload.main, filled, str(videos), "--clear")
    assert result.exit_code == 2
    assert keys(filled, filled.settings.input_bucket) == OLD
    assert keys(filled, filled.settings.output_bucket) == ["1.csv"]
    assert f"would remove 4 objects of {filled.settings.input_bucket} at http" in result.stderr
    assert "'1.mp4', '2.mp4', '3.mp4', ..." in result.stderr
    assert "no terminal to ask" in result.stderr
    assert "--yes" in result.stderr


def test_workload_does_not_ask_if_the_buckets_are_empty(buckets: Buckets, videos: Path) -> None:
    result = run(workload.main, buckets, str(videos), "--clear")
    assert result.exit_code == 0, result.output
    assert "nothing to remove" in result.stdout
    assert keys(buckets, buckets.settings.input_bucket) == NEW


@pytest.mark.parametrize(
    ("typed", "code", "left"),
    [(b"y\n", 0, NEW), (b"n\n", 1, OLD), (b"\n", 1, OLD), (b"\x04", 1, OLD)],
    ids=["yes", "no", "Enter", "Ctrl-D"],
)
def test_workload_asks_at_a_terminal_before_it_clears(
    filled: Buckets, videos: Path, typed: bytes, code: int, left: list[str]
) -> None:
    """Run the command in a process whose standard input is a real terminal."""
    ours, theirs = pty.openpty()
    script = REPOSITORY / "workload.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(videos), "--clear"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | filled.env,
    ) as process:
        os.write(ours, typed)
        _, said = process.communicate()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, said
    assert b"Remove 5 objects? [y/N]" in said
    assert keys(filled, filled.settings.input_bucket) == left


def test_workload_sends_a_large_video_in_parts(buckets: Buckets, tmp_path: Path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "large.mp4").write_bytes(bytes(20 << 20))
    assert run(workload.main, buckets, str(folder)).exit_code == 0
    etag = buckets.store.head(buckets.settings.input_bucket, "large.mp4").etag
    assert etag.endswith("-3"), "an etag with the number of parts"


def test_workload_leaves_out_hidden_files_and_counts_them(buckets: Buckets, videos: Path) -> None:
    for name in ("._a.mp4", ".DS_Store", "__MACOSX/._a.mp4", "__MACOSX/b.mp4", ".trash/c.mp4"):
        (videos / name).parent.mkdir(exist_ok=True)
        (videos / name).write_bytes(b"\0\5\x16\7")
    (videos / "gone.mp4").symlink_to("nowhere")
    (videos / "caf\udce9.mp4").write_bytes(b"x")
    (videos / "Thumbs.db").write_bytes(b"x")
    result = run(workload.main, buckets, str(videos))
    assert result.exit_code == 0, result.output
    assert keys(buckets, buckets.settings.input_bucket) == ["a.mp4", "week 1/b+c.mp4"]
    assert "uploaded 2 videos to" in result.stdout
    assert result.stderr == (
        "left out 9 files: 5 hidden ('.DS_Store', '._a.mp4', '.trash/c.mp4', ...);"
        " 1 that are broken links ('gone.mp4');"
        " 1 with a name that is not UTF-8 ('caf\\udce9.mp4');"
        " 2 without a video extension ('Thumbs.db', 'notes.txt')\n"
    )


def test_workload_says_why_a_folder_has_no_video(buckets: Buckets, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "._a.mp4").touch()
    result = run(workload.main, buckets, str(folder))
    assert result.exit_code == 1
    assert "no video in" in result.stderr
    assert "left out 1 file: 1 hidden ('._a.mp4')" in result.stderr


def test_workload_reports_an_empty_folder(buckets: Buckets, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = run(workload.main, buckets, str(tmp_path / "empty"))
    assert (result.exit_code, "no video in" in result.stderr) == (1, True)


@pytest.fixture
def checked(buckets: Buckets, videos: Path, tmp_path: Path) -> Path:
    """Upload both videos with correct results, and return the path of the mapping."""
    run(workload.main, buckets, str(videos))
    buckets.recognised("a.mp4", "alice", Student("alice", "physics", "junior"))
    buckets.recognised("week 1/b+c.mp4", "bob", Student("bob", "math", "senior"))
    mapping = tmp_path / "mapping"
    mapping.write_text("a.mp4:physics,junior\nweek 1/b+c.mp4:math,senior\n")
    return mapping


def test_check_exits_0_if_all_results_are_right(buckets: Buckets, checked: Path) -> None:
    result = run(check.main, buckets, "--mapping", str(checked))
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "2/2 correct"


def test_check_names_a_video_whose_result_was_altered(buckets: Buckets, checked: Path) -> None:
    buckets.recognised("a.mp4", "alice", Student("alice", "chemistry", "junior"))
    result = run(check.main, buckets, "--mapping", str(checked))
    assert result.exit_code == 1
    assert "wrong: a.mp4: expected physics, junior, got alice: chemistry, junior" in result.stderr


def test_check_names_a_video_without_a_result(buckets: Buckets, checked: Path) -> None:
    buckets.store.delete(buckets.settings.output_bucket, "a.csv")
    result = run(check.main, buckets, "--mapping", str(checked), "--wait", "0.3")
    assert result.exit_code == 1
    assert "wrong: a.mp4: expected physics, junior, got no result" in result.stderr


def test_check_does_not_accept_the_result_of_an_earlier_upload(
    buckets: Buckets, checked: Path
) -> None:
    buckets.store.write(buckets.settings.input_bucket, "a.mp4", b"replaced", "", {})
    result = run(check.main, buckets, "--mapping", str(checked))
    assert "got the result of an earlier upload" in result.stderr


def test_check_finds_a_result_without_a_video(buckets: Buckets, checked: Path) -> None:
    buckets.store.write(buckets.settings.output_bucket, "stray.csv", b"", "", {})
    result = run(check.main, buckets, "--mapping", str(checked))
    assert (result.exit_code, "wrong: stray.csv" in result.stderr) == (1, True)


def test_check_finds_a_result_that_is_not_a_csv_of_rollcall(
    buckets: Buckets, checked: Path
) -> None:
    etag = buckets.store.head(buckets.settings.input_bucket, "a.mp4").etag
    metadata = {"source-etag": etag}
    buckets.store.write(buckets.settings.output_bucket, "a.csv", b"name\r\nx\r\n", "", metadata)
    result = run(check.main, buckets, "--mapping", str(checked))
    assert "wrong: a.mp4: expected physics, junior, got unreadable" in result.stderr


def test_check_prints_brackets_in_names_unchanged(buckets: Buckets, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping"
    mapping.write_text("[red]a.mp4:physics,junior\n")
    assert "[red]a.mp4" in run(check.main, buckets, "--mapping", str(mapping)).output


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_check_reads_a_mapping_from_any_machine(
    buckets: Buckets, checked: Path, encoding: str, end: str
) -> None:
    text = checked.read_text().replace("\n", end)
    checked.write_bytes(text.encode(encoding))
    result = run(check.main, buckets, "--mapping", str(checked))
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "2/2 correct")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"caf\xe9.mp4:physics,junior\n", "is not UTF-8: line 1"),
        (b"PK\x03\x04\0\0", "is not a text file"),
        (b"a.mp4\n", "line 1 of the mapping is not"),
        (b"", "the mapping is empty"),
    ],
)
def test_check_names_a_mapping_that_it_cannot_read(
    buckets: Buckets, tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "mapping").write_bytes(content)
    result = run(check.main, buckets, "--mapping", str(tmp_path / "mapping"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: '")
    assert repr(str(tmp_path / "mapping")) in result.stderr
    assert problem in result.stderr
    assert result.stderr.count("\n") == 1


NFC, NFD = "caf\u00e9.mp4", "cafe\u0301.mp4"


@pytest.mark.parametrize(("uploaded", "written"), [(NFC, NFD), (NFD, NFC)])
def test_check_compares_names_in_one_unicode_form(
    buckets: Buckets, tmp_path: Path, uploaded: str, written: str
) -> None:
    buckets.store.write(buckets.settings.input_bucket, uploaded, b"x", "", {})
    buckets.recognised(uploaded, "alice", Student("alice", "physics", "junior"))
    (tmp_path / "mapping").write_text(f"{written}:physics,junior\n")
    result = run(check.main, buckets, "--mapping", str(tmp_path / "mapping"))
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "1/1 correct")


def test_check_distinguishes_videos_that_differ_only_in_unicode_form(
    buckets: Buckets, tmp_path: Path
) -> None:
    for key, major in ((NFC, "physics"), (NFD, "math")):
        buckets.store.write(buckets.settings.input_bucket, key, b"x", "", {})
        buckets.recognised(key, "alice", Student("alice", major, "junior"))
    (tmp_path / "mapping").write_text(f"{NFC}:physics,junior\n{NFD}:math,junior\n")
    result = run(check.main, buckets, "--mapping", str(tmp_path / "mapping"))
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "2/2 correct")


def test_check_reports_two_lines_of_the_mapping_for_one_video(
    buckets: Buckets, tmp_path: Path
) -> None:
    buckets.store.write(buckets.settings.input_bucket, NFD, b"x", "", {})
    buckets.recognised(NFD, "alice", Student("alice", "physics", "junior"))
    (tmp_path / "mapping").write_text(f"{NFC}:physics,junior\n{NFD}:physics,junior\n")
    result = run(check.main, buckets, "--mapping", str(tmp_path / "mapping"))
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "1/2 correct")
    assert "another line of the mapping has this name in another Unicode form" in result.stderr


def test_check_reports_several_videos_with_the_same_name(buckets: Buckets, tmp_path: Path) -> None:
    """A letter with two marks has three Unicode forms."""
    written, *uploaded = "\u1e69.mp4", "s\u0323\u0307.mp4", "\u1e63\u0307.mp4"
    for key in uploaded:
        buckets.store.write(buckets.settings.input_bucket, key, b"x", "", {})
    (tmp_path / "mapping").write_text(f"{written}:physics,junior\n")
    result = run(check.main, buckets, "--mapping", str(tmp_path / "mapping"), "--wait", "60")
    assert result.exit_code == 1
    assert "2 videos have this name, in different Unicode forms" in result.stderr
    assert all(ascii(key) in result.stderr for key in uploaded)


def test_upload_data_makes_the_table_and_replaces_records(buckets: Buckets, tmp_path: Path) -> None:
    file = tmp_path / "students.json"
    file.write_text(json.dumps([{"name": "alice", "major": "math", "year": 2, "gpa": 3.7}]))
    for _ in range(2):
        result = run(students.main, buckets, str(file))
        assert result.exit_code == 0, result.output
    found = DynamoStudents(dynamodb_client(buckets.settings), buckets.settings.student_table)
    assert found.get("alice") == Student("alice", "math", "2")


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"major": "math"}]', '[{"name": ""}]', "no json"])
def test_upload_data_refuses_a_file_without_valid_records(
    buckets: Buckets, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "students.json"
    file.write_text(text)
    result = run(students.main, buckets, str(file))
    assert (result.exit_code, "students.json" in result.stderr) == (1, True)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_upload_data_reads_files_of_other_machines(
    buckets: Buckets, tmp_path: Path, encoding: str
) -> None:
    file = tmp_path / "students.json"
    text = json.dumps([{"name": "Zoe\u0308", "major": "Biologie für alle"}], ensure_ascii=False)
    file.write_bytes(text.replace(" ", "\r\n", 1).encode(encoding))
    result = run(students.main, buckets, str(file))
    assert (result.exit_code, result.stdout) == (
        0,
        f"1 record is in {buckets.env['STUDENT_TABLE']}\n",
    )
    found = DynamoStudents(dynamodb_client(buckets.settings), buckets.settings.student_table)
    assert found.get("Zo\u00eb") == Student("Zo\u00eb", "Biologie für alle")


@pytest.mark.parametrize("between", [0, 24, 30])
def test_upload_data_stores_the_last_of_several_records_with_one_name(
    buckets: Buckets, tmp_path: Path, between: int
) -> None:
    file = tmp_path / "students.json"
    others = [{"name": f"p{number}"} for number in range(between)]
    twice = [{"name": "a", "major": "old"}, *others, {"name": "a", "major": "new"}]
    file.write_text(json.dumps(twice))
    result = run(students.main, buckets, str(file))
    assert result.exit_code == 0
    assert f"{file}': several records have the same `name`" in result.stderr
    found = DynamoStudents(dynamodb_client(buckets.settings), buckets.settings.student_table)
    assert found.get("a") == Student("a", "new")


def test_upload_data_writes_nothing_when_a_record_cannot_be_stored(
    buckets: Buckets, tmp_path: Path
) -> None:
    file = tmp_path / "students.json"
    file.write_text('[{"name": "a"}, {"name": "b", "card": %s}]' % ("1" * 39))
    result = run(students.main, buckets, str(file))
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "record 'b': field 'card' is a number of 39 digits" in result.stderr
    found = DynamoStudents(dynamodb_client(buckets.settings), buckets.settings.student_table)
    assert found.get("a") is None


def test_upload_data_prints_why_dynamodb_refused_a_record(buckets: Buckets, tmp_path: Path) -> None:
    """The key of an index may not be empty; tables without that index accept an empty one."""
    attributes = [{"AttributeName": name, "AttributeType": "S"} for name in ("name", "major")]
    index = {
        "IndexName": "by-major",
        "KeySchema": [{"AttributeName": "major", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }
    dynamodb_client(buckets.settings).create_table(
        TableName=buckets.settings.student_table,
        KeySchema=[{"AttributeName": "name", "KeyType": "HASH"}],
        AttributeDefinitions=attributes,
        GlobalSecondaryIndexes=[index],
        BillingMode="PAY_PER_REQUEST",
    )
    file = tmp_path / "students.json"
    records = [{"name": f"p{number}", "major": "m"} for number in range(30)]
    file.write_text(json.dumps([*records, {"name": "odd", "major": ""}]))
    result = run(students.main, buckets, str(file))
    assert result.exit_code == 1
    assert "DynamoDB refused records: 'odd': One or more parameter values" in result.stderr
    found = DynamoStudents(dynamodb_client(buckets.settings), buckets.settings.student_table)
    assert found.get("p29") == Student("p29", "m")


def test_a_wrong_setting_is_one_sentence_and_exit_code_2(buckets: Buckets, videos: Path) -> None:
    buckets.env["MAX_INFLIGHT"] = "many"
    result = run(workload.main, buckets, str(videos))
    assert result.exit_code == 2
    assert result.stderr == (
        "error: MAX_INFLIGHT has to be a whole number from 1 to 256, not 'many'\n"
    )


def test_a_store_that_is_down_is_one_sentence_and_exit_code_1(
    buckets: Buckets, videos: Path
) -> None:
    buckets.env["S3_ENDPOINT_URL"] = "http://127.0.0.1:9"
    result = run(workload.main, buckets, str(videos))
    assert result.exit_code == 1
    assert "http://127.0.0.1:9 does not answer" in result.stderr
    assert "Traceback" not in result.stderr
