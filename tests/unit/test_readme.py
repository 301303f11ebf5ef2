"""The README agrees with the code. Run this file as a program to regenerate its tables."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from rollcall.cli import check, students, workload
from rollcall.cli import trigger_command as trigger
from rollcall.cli import worker_command as worker
from rollcall.cli.main import main
from rollcall.core.settings import setting_names, settings_table

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"


def help_pages() -> str:
    """Return the `--help` output of every command and script."""
    scripts = {
        "trigger_openfaas.py": trigger.main,
        "openstack_handler.py": worker.main,
        "workload.py": workload.main,
        "check.py": check.main,
        "upload_data.py": students.main,
    }
    commands = {"rollcall": main, **_commands("rollcall", main)}
    pages = [_help(name, command) for name, command in {**scripts, **commands}.items()]
    return "```\n" + "\n\n".join(pages) + "\n```\n"


def _commands(name: str, group: click.Group) -> dict[str, click.Command]:
    """Return the commands of a group and of its nested groups, by their full names."""
    found: dict[str, click.Command] = {}
    for each, command in group.commands.items():
        found[f"{name} {each}"] = command
        if isinstance(command, click.Group):
            found |= _commands(f"{name} {each}", command)
    return found


def _help(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=name, terminal_width=90, max_content_width=90)
    return command.get_help(context)


GENERATED = {"settings": settings_table, "help": help_pages}


def section(name: str) -> re.Pattern[str]:
    return re.compile(f"(<!-- {name} -->\n)(.*?)(<!-- /{name} -->)", re.DOTALL)


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_part_is_up_to_date(name: str) -> None:
    found = section(name).search(README.read_text())
    assert found
    assert found[2].strip() == GENERATED[name]().strip()


def test_every_path_in_the_section_where_things_are_exists() -> None:
    tree = README.read_text().split("## Where things are")[1].split("```")[1]
    paths = [word for line in tree.splitlines() for word in re.split(r" {3,}", line)[0].split()]
    assert len(paths) > 10
    for path in paths:
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_named_make_target_exists(page: str) -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", (REPOSITORY / page).read_text()))
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


def test_contributing_lists_the_packages_that_the_gate_installs() -> None:
    gate = (REPOSITORY / ".ci" / "run").read_text()
    installed = re.search(r"^packages=\((.*?)\)", gate, re.DOTALL | re.MULTILINE)
    assert installed
    assert set(installed[1].split()) <= set((REPOSITORY / "CONTRIBUTING.md").read_text().split())


def test_credentials_env_has_only_settings_and_no_secret() -> None:
    lines = (REPOSITORY / "credentials.env").read_text().splitlines()
    pairs = dict(line.removeprefix("export ").split("=") for line in lines if "=" in line)
    assert pairs.keys() <= set(setting_names())
    secrets = [value for name, value in pairs.items() if "KEY" in name or "TOKEN" in name]
    assert set(secrets) == {"CHANGE_ME"}


def test_the_part_before_the_reference_is_short() -> None:
    lines = README.read_text().split("\n# Reference")[0].splitlines()
    assert len(lines) < 140


if __name__ == "__main__":
    text = README.read_text()
    for name, make in GENERATED.items():
        body = make()
        text = section(name).sub(lambda found, b=body: f"{found[1]}{b}{found[3]}", text)
    README.write_text(text)
