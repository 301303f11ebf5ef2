"""Run the commands `enrol` and `recognise` on rendered scenes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
from click.testing import CliRunner

from rollcall import wiring
from rollcall.cli import enrol as enrol_command
from rollcall.cli import recognise as recognise_command
from rollcall.cli.main import main
from rollcall.core.names import UNKNOWN
from support.scenes import Portrait, Scene, photo


def enrol(folder: Path, portraits: Mapping[str, Portrait]) -> Path:
    """Create a native gallery of these people from one photo each."""
    gallery = folder / "gallery.npz"
    for name, portrait in portraits.items():
        path = folder / f"{name}.png"
        cv2.imwrite(str(path), cv2.cvtColor(photo(portrait), cv2.COLOR_RGB2BGR))
        _run("enrol", name, str(path), "--encodings", str(gallery))
    return gallery


def recognise(scene: Scene, folder: Path, gallery: Path, *options: str) -> dict[str, Any]:
    """Render the scene, and return the document that `recognise --json` prints."""
    video = scene.write(folder / "scene.mp4")
    output = _run("recognise", str(video), "--json", "--encodings", str(gallery), *options)
    document: dict[str, Any] = json.loads(output)
    assert document["error"] is None, document
    return document


def named(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the recognised people by name."""
    return {person["name"]: person for person in document["people"] if person["name"] != UNKNOWN}


# Loading the models takes 0.2 s of processor time, so all runs with the same settings share them.
_build_engine = cache(wiring.build_engine)


def _run(*argv: str) -> str:
    with (
        patch.object(enrol_command, "build_engine", _build_engine),
        patch.object(recognise_command, "build_engine", _build_engine),
    ):
        done = CliRunner().invoke(main, list(argv), catch_exceptions=False)
    assert done.exit_code == 0, (argv[0], done.output)
    return done.stdout
