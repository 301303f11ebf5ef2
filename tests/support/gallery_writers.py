"""Change one gallery from several processes at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.gallery_commands import photo
from support.needs import REPOSITORY

SCRIPT = Path(__file__).with_name("gallery_commands.py")

Commands = Sequence[Sequence[str]]


def at_once(
    writers: Sequence[Commands], folder: Path, env: Mapping[str, str] | None = None
) -> list[list[int]]:
    """Run the commands of each writer in a separate process, and return their exit codes."""
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            cwd=folder,
            text=True,
        )
        for _ in writers
    ]
    for process, commands in zip(running, writers, strict=True):
        assert process.stdin
        process.stdin.write(json.dumps(commands))
        process.stdin.close()
    codes = []
    for process in running:
        assert process.stdout
        codes.append(json.loads(process.stdout.read()))
        process.wait(120)
        process.stdout.close()
    return codes


def enrol_and_remove(
    gallery: str, folder: Path, writers: int, people: int
) -> tuple[list[Commands], set[str]]:
    """Return the commands of each writer, and the names that are left in the end.

    Each writer enrols `people` people of its own, and removes every second one again.
    """
    plans: list[Commands] = []
    left = set()
    for writer in range(writers):
        commands = []
        for each in range(people):
            name = f"person {writer}-{each}"
            picture = str(photo(folder, writer * people + each))
            commands.append(["enrol", name, picture, "--encodings", gallery])
            if each % 2:
                commands.append(["gallery", "remove", name, "--yes", "--encodings", gallery])
            else:
                left.add(name)
        plans.append(commands)
    return plans, left
