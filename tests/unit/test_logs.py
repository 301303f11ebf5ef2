"""Log lines: control characters are escaped, and lines that outsiders can cause are limited."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollcall.core.log_fields import about
from rollcall.logs import JsonFormatter, LogLimit, PrintableFormatter, set_up_logs


def test_the_next_period_says_how_many_lines_were_not_logged() -> None:
    now, lines = [0.0], []
    limit = LogLimit(2, 60.0, lambda: now[0])

    def log(message: str, *args: object) -> None:
        lines.append(message % args)

    for number in range(5):
        limit.log(log, "no %d", number)
    assert lines == ["no 0", "no 1"]
    now[0] = 60.0
    limit.log(log, "no %d", 5)
    assert lines[2:] == ["no 5 (3 more like this were not logged)"]
    now[0] = 130.0
    limit.log(log, "100%% of %s", "it")
    assert lines[3:] == ["100% of it"]


TRICK = "week\x1b]0;x\x07\x9b\u202e\r\n2026-01-01 12:00:00,000 INFO rollcall: forged.mp4"
LAMBDA = "[%(levelname)s]\t%(asctime)s\t%(message)s\n"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger with its own handler, like that of a host. set_up_logs() has to find the handler."""
    found = logging.getLogger("a-host")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter(LAMBDA))
    found.addHandler(handler)
    found.propagate = False
    hook = sys.excepthook
    yield found
    set_up_logs()  # pytest's handlers may have got the other format
    found.removeHandler(handler)
    sys.excepthook = hook


def written(logger: logging.Logger) -> str:
    handler = logger.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    text = handler.stream.getvalue()
    assert isinstance(text, str)
    return text


def test_a_message_is_one_line_without_control_characters(logger: logging.Logger) -> None:
    set_up_logs()
    logger.warning("failed %s", TRICK)
    line = written(logger)
    assert line.startswith("[WARNING]\t")
    assert line.count("\n") == 2, "the formatter's own, and the handler's"
    assert line.rstrip("\n").replace("\t", "").isprintable()
    assert r"week\x1b]0;x\x07\x9b\u202e\r\n2026" in line


def test_text_in_a_traceback_cannot_look_like_a_log_line(logger: logging.Logger) -> None:
    set_up_logs()
    try:
        raise ValueError(TRICK)
    except ValueError:
        logger.exception("failed")
    first, *rest = written(logger).rstrip("\n").split("\n")
    assert first.endswith("failed")
    assert all(line.startswith("  ") and line.isprintable() for line in rest if line)
    assert "forged.mp4" in rest[-1]


def test_lines_that_are_json_stay_json(logger: logging.Logger) -> None:
    class Json(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            shown = {"message": record.getMessage(), "key": TRICK}
            return json.dumps(shown, ensure_ascii=False)

    logger.handlers[0].setFormatter(Json())
    set_up_logs()
    logger.warning("%s", TRICK)
    line = written(logger).rstrip("\n")
    assert line.isprintable()
    assert json.loads(line)["key"] == TRICK


def test_setting_up_twice_escapes_once(logger: logging.Logger) -> None:
    set_up_logs()
    set_up_logs()
    assert isinstance(logger.handlers[0].formatter, PrintableFormatter)
    logger.warning("a\x1b")
    assert written(logger).strip().endswith(r"a\x1b")


def test_a_json_line_names_the_video(logger: logging.Logger) -> None:
    set_up_logs("json")
    with about(work="w1", key=TRICK, bucket="b"), about(trace_id="t1"):
        logger.warning("failed %s", TRICK)
    logger.error("another")
    first, second = map(json.loads, written(logger).splitlines())
    assert list(first) == [
        *("time", "level", "logger", "message"),
        *("work", "key", "bucket", "trace_id"),
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert (first["level"], first["logger"]) == ("WARNING", "a-host")
    assert first["message"].startswith(r"failed week\x1b]0;x")
    assert first["message"].isprintable()
    assert first["key"] == TRICK
    assert second.keys() == {"time", "level", "logger", "message"}


def test_a_json_line_has_the_traceback_as_a_field(logger: logging.Logger) -> None:
    set_up_logs("json")
    try:
        raise ValueError(TRICK)
    except ValueError:
        logger.exception("failed")
    (line,) = written(logger).splitlines()
    document = json.loads(line)
    assert document["message"] == "failed"
    assert document["exception"].startswith("Traceback (most recent call last):")
    assert "\x1b" not in document["exception"]


def test_a_text_line_about_a_video_ends_with_its_work_id(logger: logging.Logger) -> None:
    set_up_logs()
    with about(work="w1", key="a.mp4"):
        logger.warning("no record")
        logger.warning("finished, 7 ms, work w1")
    logger.warning("not about a video")
    lines = [line.rpartition("\t")[2] for line in written(logger).splitlines() if line]
    assert lines == ["no record, work w1", "finished, 7 ms, work w1", "not about a video"]


def test_the_fields_belong_to_one_thread(logger: logging.Logger) -> None:
    set_up_logs("json")
    with about(work="w1"):
        thread = threading.Thread(target=logger.warning, args=("of another thread",))
        thread.start()
        thread.join()
    assert "work" not in json.loads(written(logger))


def test_the_format_can_be_changed_and_changed_back(logger: logging.Logger) -> None:
    handler = logger.handlers[0]
    set_up_logs("json")
    assert isinstance(handler.formatter, JsonFormatter)
    set_up_logs("text")
    logger.warning("back")
    assert written(logger).startswith("[WARNING]\t")


def test_a_program_logs_json_from_its_first_line(tmp_path: Path) -> None:
    """The settings themselves cause a warning here, and decide about the format."""
    (tmp_path / ".env").write_text("LOG_FORMAT=json\n")
    (tmp_path / ".env").chmod(0o666)
    command = [sys.executable, "-m", "rollcall", "gallery", "--encodings", "missing.npz"]
    environ = {**os.environ, "LOG_FORMAT": "json"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    first, *_ = done.stderr.splitlines()
    assert "every user may write to it" in json.loads(first)["message"]
    (tmp_path / ".env").chmod(0o600)
    wrong = {**os.environ, "LOG_FORMAT": "xml"}
    done = subprocess.run(command, cwd=tmp_path, env=wrong, capture_output=True, text=True)
    assert done.returncode == 2
    assert "LOG_FORMAT has to be one of text, json" in done.stderr


def test_the_output_of_lambdas_own_handler_is_escaped() -> None:
    """This runs in its own process, because the runtime sets up logging before it imports the
    handler."""
    program = f"""
import awslambdaric.bootstrap as bootstrap, logging
with bootstrap.create_log_sink() as sink:
    bootstrap._setup_logging("{{}}", "", sink)
    from rollcall.logs import set_up_logs
    set_up_logs()
    logging.getLogger("rollcall").warning("failed %s", {TRICK!a})
    set_up_logs("json")
    logging.getLogger("rollcall").warning("one line")
    logging.getLogger("rollcall").warning("another line")
"""
    for form in ("TEXT", "JSON"):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("{}", form)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        line, *more = done.stdout.rstrip("\n").split("\n")
        assert "forged.mp4" in line
        assert [json.loads(each)["message"] for each in more] == ["one line", "another line"]
        assert line.replace("\t", "").isprintable()
