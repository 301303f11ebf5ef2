"""Commands print only through `rollcall.cli.terminal`, which escapes control characters."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from support.needs import REPOSITORY
from support.syntax_trees import syntax_tree

from devstack import demo
from rollcall.cli import check, students, terminal, workload
from rollcall.cli import trigger_command as trigger
from rollcall.cli import worker_command as worker
from rollcall.cli.entry import command_errors
from rollcall.cli.main import main

COMMANDS = REPOSITORY / "rollcall" / "cli"
EXEMPT = {
    COMMANDS / "terminal.py",
    COMMANDS / "missing_packages.py",  # runs without packages, and prints only its own text
}
SOURCES = sorted(
    {
        *(REPOSITORY / "rollcall").rglob("*.py"),
        *REPOSITORY.glob("devstack/*.py"),
        *REPOSITORY.glob("*.py"),
    }
    - EXEMPT
)
PRINTERS = {"print", "pprint", "echo", "secho", "echo_via_pager", "confirm", "prompt"}
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
HOSTILE = "a\x1b]0;owned\x07\x9b\u202e\r\nb"
ESCAPED = r"a\x1b]0;owned\x07\x9b\u202e\r\nb"

SCRIPTS = [check.main, demo.main, students.main, trigger.main, worker.main, workload.main]


def prints(path: Path) -> list[str]:
    """Return the names in a file that could print: functions, streams and imports of rich."""
    found = []
    for node in ast.walk(syntax_tree(path)):
        match node:
            case ast.Call(ast.Name(name) | ast.Attribute(ast.Name("click"), name)) if (
                name in PRINTERS
            ):
                found.append(name)
            case ast.Attribute(ast.Name("sys"), name) if name in STREAMS:
                found.append(name)
            case ast.ImportFrom("rich.console" | "rich.table" | "rich.text" | "rich"):
                found.append("rich")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_other_module_prints(path: Path) -> None:
    assert prints(path) == []


def test_the_search_finds_printing_code() -> None:
    assert set(prints(COMMANDS / "terminal.py")) >= {"echo", "confirm", "rich"}


def commands(command: click.Command) -> list[click.Command]:
    """Return a command and all its subcommands."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [command, *(each for inner in below for each in commands(inner))]


@pytest.mark.parametrize("command", [*SCRIPTS, *commands(main)], ids=lambda command: command.name)
def test_usage_errors_of_every_command_are_escaped(command: click.Command) -> None:
    assert isinstance(command, terminal.Command)
    result = CliRunner().invoke(command, [f"--{HOSTILE}", HOSTILE, HOSTILE, HOSTILE])
    assert result.exit_code == 2
    assert ESCAPED in result.stderr
    assert all(line.isprintable() for line in result.stderr.split("\n"))


def test_lines_json_and_table_cells_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(HOSTILE)
    terminal.say_fact(HOSTILE, right=True)
    terminal.say_table(["video"], [(False, [HOSTILE])])
    terminal.say_json({"name": "\x9b\u202e"})
    said = capsys.readouterr().out.split("\n")
    assert said[:2] == [ESCAPED, f"✓ {ESCAPED}"]
    assert ESCAPED in said[3]
    assert said[4] == r'{"name": "\u009b\u202e"}'


def test_an_uncaught_error_of_a_command_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    @click.command(cls=terminal.Command)
    @command_errors
    def broken() -> None:
        raise ValueError(HOSTILE)

    before = sys.excepthook
    try:
        error = CliRunner().invoke(broken).exception
        assert isinstance(error, ValueError)
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.excepthook = before
    assert "\x1b" not in capsys.readouterr().err
