"""`rollcall gallery check`."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from rollcall.cli.main import main
from rollcall.core.encoding_space import DLIB
from rollcall.core.gallery import Gallery, empty_gallery
from rollcall.core.types import FaceQuality
from rollcall.core.verdicts import Example, FaceSource
from rollcall.gallery.gallery_formats import render_gallery


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def check(gallery: Gallery, *options: str, **env: str) -> Result:
    Path("gallery.npz").write_bytes(render_gallery(gallery))
    argv = ["gallery", "check", "--encodings", "gallery.npz", *options]
    return CliRunner().invoke(main, argv, env=env)


def troubled() -> Gallery:
    points = np.zeros((6, DLIB.size))
    points[:, 0] = (0, 0.1, 0.3, 10, 10.5, 20)
    points[:, 1] = (0, 0, 0, 0, 0, 0)
    known = Gallery(["ada", "ada", "it's eve", "ben", "cleo", "dan"], points)
    poor = FaceQuality(52, 0.3, 0, 0.9)
    pair = np.zeros((2, DLIB.size))
    pair[:, 0] = (30, 30.9)
    examples = [Example("e1", FaceSource(photo="a.jpg"), quality=poor), Example("e2", quality=poor)]
    return known.with_encodings("fay", pair, examples)


def test_findings_are_printed_with_the_way_out() -> None:
    result = check(troubled(), TOLERANCE="0.6")
    assert result.exit_code == 1
    lines = [line.strip() for line in result.stdout.splitlines()]
    expected = [
        "✗ 1 pair of people who may be one person",
        "'ada' and \"it's eve\" (distance 0.20); if they are one person: rollcall gallery merge"
        " 'it'\"'\"'s eve' ada",
        "✗ 1 pair of look-alikes within the tolerance",
        "'ben' and 'cleo' (distance 0.50)",
        "✗ 2 photos far from all others of the same person",
        "'a.jpg' of 'fay' (distance 0.90); make sure that it shows this person",
        "'a photo without a name' of 'fay' (distance 0.90); make sure that it shows this person",
        "✗ 4 people with only one photo; three or more are better",
        "'ben'",
        "'cleo'",
        "'dan'",
        '"it\'s eve"',
        "✗ 1 person with only poor photos; enrol a better one",
        "'fay'",
    ]
    assert lines[: len(expected)] == expected
    assert lines[len(expected)].startswith("in use: tolerance 0.60: ")


def test_json_has_all_findings() -> None:
    result = check(troubled(), "--json", TOLERANCE="0.6")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["two_names"] == [{"name": "ada", "other": "it's eve", "distance": 0.2}]
    assert [each["photo"] for each in document["far_photos"]] == ["a.jpg", ""]
    assert document["poor_photos"] == ["fay"]
    assert document["tolerance"]["tolerance"] == 0.6
    assert document["needs_attention"] is True


def test_a_good_gallery_exits_with_0() -> None:
    points = np.repeat(np.eye(3, DLIB.size) * 3, 2, axis=0)
    result = check(Gallery(list("aabbcc"), points))
    assert result.exit_code == 0
    assert result.stdout.count("✓ no") == 5
    assert "✓ no people with only one photo\n" in result.stdout


def test_an_empty_gallery_has_no_findings() -> None:
    assert check(empty_gallery()).exit_code == 0


def test_long_lists_are_cut() -> None:
    points = np.eye(30, DLIB.size) * 3
    result = check(Gallery([f"p{number}" for number in range(30)], points))
    assert "and 10 more; --json lists them" in result.stdout


def test_the_plot_is_written() -> None:
    result = check(troubled(), "--plot", "distances.svg")
    assert "drew the distances: distances.svg" in result.stderr
    assert Path("distances.svg").read_text(encoding="utf-8").startswith("<svg ")
    failed = check(troubled(), "--plot", "missing/distances.svg")
    assert (failed.exit_code, "cannot be written" in failed.stderr) == (1, True)


def test_a_tolerance_that_differs_from_the_proposal_is_mentioned() -> None:
    points = np.random.default_rng(2).normal(0, 0.045, (60, DLIB.size))
    known = Gallery([f"p{number}" for number in range(60)], points)
    assert "proposed: tolerance 0." in check(known, TOLERANCE="0.6").stdout
    own = check(known).stdout
    assert "proposed" not in own
    shown = re.search(r"in use: tolerance (0\.\d\d)", own)
    assert shown
    for tolerance in (shown[1], f"{shown[1]}4"):  # another one, which the output rounds alike
        assert "proposed" not in check(known, TOLERANCE=tolerance).stdout


def test_a_pickled_gallery_is_not_told_to_use_the_setting_that_it_has() -> None:
    points = np.random.default_rng(2).normal(0, 0.045, (60, DLIB.size))
    Path("faces").write_bytes(
        pickle.dumps({"name": [f"p{n}" for n in range(60)], "encoding": list(points)})
    )
    result = CliRunner().invoke(main, ["gallery", "check", "--encodings", "faces"])
    assert "in use: tolerance 0.60" in result.stdout
    assert re.search(r"proposed: .*; set TOLERANCE=0\.\d\d\n", result.stdout)


def test_a_gallery_of_another_engine_is_refused() -> None:
    result = check(Gallery(["ada"], np.zeros((1, 3)), "other-1"))
    assert result.exit_code == 1
    assert "set ENGINE to the engine that made the gallery" in result.stderr
