"""Runs of the product over rendered scenes, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
from click.testing import CliRunner

from rollcall.cli.main import main
from rollcall.core.names import UNKNOWN
from support.scenes import Portrait, Scene, photo


def enrol(folder: Path, portraits: Mapping[str, Portrait]) -> Path:
    """A native gallery of these people, one photo each."""
    gallery = folder / "gallery.npz"
    for name, portrait in portraits.items():
        path = folder / f"{name}.png"
        cv2.imwrite(str(path), cv2.cvtColor(photo(portrait), cv2.COLOR_RGB2BGR))
        _run("enrol", name, str(path), "--encodings", str(gallery))
    return gallery


def recognise(scene: Scene, folder: Path, gallery: Path, *options: str) -> dict[str, Any]:
    """The document that `recognise --json` prints about the rendered scene."""
    video = scene.write(folder / "scene.mp4")
    said = _run("recognise", str(video), "--json", "--encodings", str(gallery), *options)
    document: dict[str, Any] = json.loads(said)
    assert document["error"] is None, document
    return document


def named(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The people with a name."""
    return {each["name"]: each for each in document["people"] if each["name"] != UNKNOWN}


def _run(*argv: str) -> str:
    done = CliRunner().invoke(main, list(argv), catch_exceptions=False)
    assert done.exit_code == 0, (argv[0], done.output)
    return done.stdout
