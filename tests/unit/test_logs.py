"""The limit for log lines that outsiders cause."""

from __future__ import annotations

from rollcall.logs import LogLimit


def test_lines_beyond_the_limit_are_counted_and_said_later() -> None:
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
