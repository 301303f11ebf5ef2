"""`rollcall gallery` says which tolerance a gallery has, and what is expected of it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from rollcall.cli.main import main
from rollcall.core.gallery import Gallery
from rollcall.gallery.gallery_formats import render_gallery


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def listed(*args: str, **env: str) -> Result:
    result = CliRunner().invoke(main, ["gallery", *args], env=env)
    assert result.exit_code == 0, result.output
    return result


def crowd() -> Gallery:
    encodings = np.random.default_rng(1).normal(0, 0.045, (60, 128))
    return Gallery([f"p{number}" for number in range(60)], encodings)


def test_a_native_gallery_has_a_tolerance_of_its_own() -> None:
    Path("g.npz").write_bytes(render_gallery(crowd()))
    document = json.loads(listed("--json", "--encodings", "g.npz").stdout)
    assert 0.4 < document["tolerance"] < 0.6
    assert 0 < document["false_name_rate"] <= 0.01
    assert 0 < document["missed_rate"] < 1
    stderr = listed("--encodings", "g.npz").stderr
    assert f"tolerance {document['tolerance']:.2f}: a name is expected for" in stderr


def test_the_pickle_of_a_course_keeps_its_tolerance() -> None:
    known = crowd()
    document = {"name": list(known.names), "encoding": list(known.encodings)}
    Path("encoding").write_bytes(pickle.dumps(document))
    assert json.loads(listed("--json", "--encodings", "encoding").stdout)["tolerance"] == 0.6


def test_the_setting_wins() -> None:
    Path("g.npz").write_bytes(render_gallery(crowd()))
    args = ("--json", "--encodings", "g.npz")
    assert json.loads(listed(*args, TOLERANCE="0.45").stdout)["tolerance"] == 0.45


def test_an_empty_gallery_is_not_talked_about() -> None:
    Path("g.npz").write_bytes(render_gallery(crowd().without("p0")))
    Path("empty.npz").write_bytes(render_gallery(Gallery((), np.empty((0, 128)))))
    assert "tolerance" in listed("--encodings", "g.npz").stderr
    assert "tolerance" not in listed("--encodings", "empty.npz").stderr
