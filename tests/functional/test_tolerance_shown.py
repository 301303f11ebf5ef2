"""`rollcall gallery` prints the tolerance of a gallery, and the expected error rates."""

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


def run_gallery(*args: str, **env: str) -> Result:
    result = CliRunner().invoke(main, ["gallery", *args], env=env)
    assert result.exit_code == 0, result.output
    return result


def crowd() -> Gallery:
    encodings = np.random.default_rng(1).normal(0, 0.045, (60, 128))
    return Gallery([f"p{number}" for number in range(60)], encodings)


def test_a_native_gallery_has_its_own_tolerance() -> None:
    Path("g.npz").write_bytes(render_gallery(crowd()))
    document = json.loads(run_gallery("--json", "--encodings", "g.npz").stdout)
    assert 0.4 < document["tolerance"] < 0.6
    assert 0 < document["false_name_rate"] <= 0.01
    assert 0 < document["missed_rate"] < 1
    stderr = run_gallery("--encodings", "g.npz").stderr
    assert f"tolerance {document['tolerance']:.2f}: with these photos" in stderr


def test_the_pickle_of_a_course_keeps_the_tolerance_of_dlib() -> None:
    known = crowd()
    document = {"name": list(known.names), "encoding": list(known.encodings)}
    Path("encoding").write_bytes(pickle.dumps(document))
    assert json.loads(run_gallery("--json", "--encodings", "encoding").stdout)["tolerance"] == 0.6


def test_the_setting_overrides_the_tolerance_of_the_gallery() -> None:
    Path("g.npz").write_bytes(render_gallery(crowd()))
    args = ("--json", "--encodings", "g.npz")
    assert json.loads(run_gallery(*args, TOLERANCE="0.45").stdout)["tolerance"] == 0.45


def test_no_limits_are_printed_for_an_empty_gallery() -> None:
    Path("g.npz").write_bytes(render_gallery(crowd().without("p0")))
    Path("empty.npz").write_bytes(render_gallery(Gallery((), np.empty((0, 128)))))
    assert "tolerance" in run_gallery("--encodings", "g.npz").stderr
    assert "tolerance" not in run_gallery("--encodings", "empty.npz").stderr
