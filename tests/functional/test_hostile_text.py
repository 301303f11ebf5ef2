"""Control characters in keys and messages are escaped by commands, answers and pages."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import httpx
import pytest
from click.testing import CliRunner
from support.listings import memory_listings
from support.servers import serve_wsgi
from support.settings import TOKEN, embedded_settings, embedded_values
from support.videos import painted_gallery

from rollcall.cli import check
from rollcall.cli.main import main
from rollcall.core.errors import NotAVideo, TransientError
from rollcall.core.names import UNKNOWN
from rollcall.core.settings import parse_settings
from rollcall.core.types import VideoRef
from rollcall.function.aws_lambda import answer_event
from rollcall.function.function_service import FunctionService
from rollcall.gallery.gallery_formats import render_gallery
from rollcall.queues.memory_queue import MemoryQueue
from rollcall.stores.boto import s3_client
from rollcall.stores.memory import MemoryStore
from rollcall.stores.s3 import S3Store
from rollcall.trigger.caller import FunctionCaller
from rollcall.trigger.trigger_service import Trigger

TRICK = "a\x1b]0;owned\x07\x9b2J\u202e"
SHOWN = r"a\x1b]0;owned\x07\x9b2J\u202e"
IN = "input-bucket-video"
MODELS = Path.home() / ".cache" / "rollcall"


def plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_recognise_escapes_control_characters_in_file_names(tmp_path: Path) -> None:
    video = tmp_path / f"{TRICK}\n2.mp4"
    video.write_text("not a video")
    argv = ["recognise", str(video), str(tmp_path / "caf\udce9.mp4")]
    (tmp_path / "gallery.npz").write_bytes(render_gallery(painted_gallery(alice="red")))
    env = {"ENCODINGS": str(tmp_path / "gallery.npz"), "MODEL_CACHE": str(MODELS)}
    result = CliRunner().invoke(main, argv, env=env)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert f"{SHOWN}\\n2.mp4: error: " in result.stdout
    assert plain(result.stdout)
    result = CliRunner().invoke(main, [*argv, "--json"], env=env)
    assert plain(result.stdout)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["video"] for each in documents] == argv[1:]


def test_check_escapes_control_characters_in_keys(
    moto_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = uuid.uuid4().hex[:8]
    env = embedded_values(moto_url, INPUT_BUCKET=f"in-{name}", OUTPUT_BUCKET=f"out-{name}")
    settings = parse_settings(env)
    store = S3Store(s3_client(settings))
    for bucket in (settings.input_bucket, settings.output_bucket):
        store.create_bucket(bucket)
    store.write(settings.output_bucket, "\u202e\x9b1m.csv", b"", "text/csv", {})
    (tmp_path / "mapping").write_text(f"x\x1b[2J.mp4:physics\u202e,{UNKNOWN}\n", newline="")
    result = CliRunner().invoke(check.main, ["--mapping", "mapping"], env=env)
    assert result.exit_code == 1
    assert plain(result.stdout)
    assert plain(result.stderr)
    assert r"wrong: x\x1b[2J.mp4: expected physics\u202e, unknown" in result.stderr
    assert r"wrong: \u202e\x9b1m.csv" in result.stderr


def failing(error: Exception) -> FunctionService:
    class Broken:
        galleries = SimpleNamespace(facts=None)

        def run(self, video: VideoRef) -> NoReturn:
            raise error

    return FunctionService(Broken)  # type: ignore[arg-type]


@pytest.mark.parametrize("half", ["", "\ud800"])
def test_an_answer_of_the_function_is_json_without_control_characters(half: str) -> None:
    event = json.dumps({"bucket": IN, "key": f"{TRICK}.mp4"}).encode()
    answer = failing(NotAVideo(f"{TRICK}{half} is not a video")).answer(event)
    assert plain(answer.body())
    assert json.loads(answer.body())["error"]["message"] == f"{TRICK}{half} is not a video"


def test_an_exception_of_the_lambda_is_one_line_without_control_characters() -> None:
    """Lambda's runtime logs the text of an exception unchanged."""
    service = failing(TransientError(f"{TRICK}\nforged"))
    with pytest.raises(TransientError) as raised:
        answer_event(service, {"bucket": IN, "key": "a.mp4"})
    assert str(raised.value).endswith(rf"{SHOWN}\nforged")
    assert str(raised.value).isprintable()


def test_the_status_page_escapes_control_characters() -> None:
    queue = MemoryQueue()
    queue.add([VideoRef(IN, f"<b>{TRICK}.mp4", "e1", "", event_id="1")])
    queue.add_bad_event(b"x", f"{TRICK}<i>")
    caller = FunctionCaller("http://127.0.0.1:1", "face-recognition", 1, 1, "")
    settings = embedded_settings("http://127.0.0.1:1")
    trigger = Trigger(settings, queue, memory_listings(), MemoryStore(), caller)
    with serve_wsgi(trigger.app) as url:
        page = httpx.get(url, auth=("x", TOKEN), timeout=60).text
    assert f"&lt;b&gt;{SHOWN}.mp4" in page
    assert f"{SHOWN}&lt;i&gt;" in page
    assert plain(page)
    assert "<td>" in page
