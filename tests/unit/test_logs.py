"""Log lines: control characters are escaped, and lines that outsiders can cause are limited."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rollcall.logs import LogLimit, PrintableFormatter, set_up_logs


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
"""
    for form in ("TEXT", "JSON"):
        done = subprocess.run(
            [sys.executable, "-c", program.replace("{}", form)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        line = done.stdout.rstrip("\n")
        assert "forged.mp4" in line
        assert line.replace("\t", "").isprintable()
