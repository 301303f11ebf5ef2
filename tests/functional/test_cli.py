"""`rollcall`: recognise, enrol, gallery, replay."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from skimage import data, io

from rollcall.core.errors import DecoderUnavailable
from rollcall.core.gallery_formats import parse_gallery
from rollcall.core.types import Recognition, VideoRef
from rollcall.recognition import Recogniser
from rollcall.tools.cli import main
from rollcall.trigger.inbox import Inbox


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def run(*args: str | Path, **env: str) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args], env=env)


@pytest.fixture(scope="module")
def astronaut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "astronaut.png"
    io.imsave(path, data.astronaut()[:220])
    return path


def test_recognise_prints_one_json_document_per_video(classroom: Path) -> None:
    videos = sorted((classroom / "videos").iterdir())[:2]
    result = run("recognise", *videos, "--json", "--encodings", classroom / "encoding")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0, result.output
    assert [document["video"] for document in documents] == [str(video) for video in videos]
    assert [document["people"][0]["name"] for document in documents] == [
        "president_trump",
        "president_biden",
    ]
    person = documents[0]["people"][0]
    assert list(person) == ["name", "distance", "first_seen_s", "last_seen_s", "frames"]
    assert (documents[0]["status"], documents[0]["error"]) == ("recognised", None)


def test_timeline_sees_more_frames(sample: Path) -> None:
    video = sample / "videos" / "late.mp4"
    frames = {}
    for scan in ("identify", "timeline"):
        line = run(
            "recognise", video, "--json", "--scan", scan, "--encodings", sample / "encoding"
        ).stdout
        (person,) = json.loads(line)["people"]
        frames[scan] = person["frames"]
        assert 1.9 <= person["first_seen_s"] <= 2.6
    assert frames["timeline"] > frames["identify"] == 1


def test_a_video_that_cannot_be_read_does_not_stop_the_rest(sample: Path, tmp_path: Path) -> None:
    broken, missing = tmp_path / "broken.mp4", tmp_path / "missing.mp4"
    broken.write_bytes(b"<html>")
    good = sample / "videos" / "lecture_1.mp4"
    result = run("recognise", broken, missing, good, "--json", "--encodings", sample / "encoding")
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [document["status"] for document in documents] == ["error", "error", "recognised"]
    assert all(document["error"] for document in documents[:2])


def test_a_decoder_that_is_killed_does_not_stop_the_rest(
    sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognise, calls = Recogniser.recognise, iter([True, False])

    def killed_once(self: Recogniser, *args: Any) -> Recognition:
        if next(calls):
            raise DecoderUnavailable("the decoder's process was killed; is memory short?")
        return recognise(self, *args)

    monkeypatch.setattr(Recogniser, "recognise", killed_once)
    video = sorted((sample / "videos").iterdir())[0]
    result = run("recognise", video, video, "--encodings", sample / "encoding", "--json")
    assert result.exit_code == 1
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["status"], second["status"]) == ("error", "no_face")


def test_recognise_speaks_to_people_too(sample: Path) -> None:
    video = sample / "videos" / "cat.mp4"
    result = run("recognise", video, "--encodings", sample / "encoding")
    assert result.output == f"{video}: nobody\n"


def test_recognise_without_gallery_names_the_way_out() -> None:
    result = run("recognise", "a.mp4")
    assert result.exit_code == 1
    assert "set ENCODINGS, or make one with `rollcall enrol" in result.stderr


def test_a_gallery_that_is_none_is_named(tmp_path: Path) -> None:
    Path("odd.npz").write_bytes(b"nonsense")
    commands = ["gallery"], ["recognise", "a.mp4"], ["gallery", "remove", "a"], ["enrol", "a", "b"]
    for command in commands:
        result = run(*command, "--encodings", "odd.npz")
        assert result.exit_code == 1
        assert "the gallery odd.npz " in result.stderr


def test_an_option_that_would_not_be_heard_is_refused() -> None:
    result = run("gallery", "--encodings", "a.npz", "remove", "alice")
    assert result.exit_code == 2
    assert "behind it" in result.stderr


def test_enrol_then_recognise_in_the_gallery(astronaut: Path) -> None:
    assert run("enrol", "eileen", astronaut).output == "eileen: 1 encoding in gallery.npz\n"
    assert run("enrol", "eileen", astronaut).output == "eileen: 2 encodings in gallery.npz\n"
    assert run("gallery").output == "eileen: 2\n"
    assert json.loads(run("gallery", "--json").output)["people"] == {"eileen": 2}
    assert Path("gallery.npz").stat().st_mode & 0o777 == 0o600


def test_enrol_warns_of_two_names_for_one_face(astronaut: Path) -> None:
    run("enrol", "eileen", astronaut)
    result = run("enrol", "collins", astronaut)
    assert "collins may be taken for eileen" in result.stderr


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("cat", lambda path: io.imsave(path, data.chelsea()), "no face was found"),
        (
            "two",
            lambda path: io.imsave(path, np.hstack([data.astronaut()[:220]] * 2)),
            "2 faces were found",
        ),
        ("text", lambda path: path.write_text("no picture"), "is not a picture"),
        ("empty", lambda path: path.touch(), "is not a picture"),
        ("missing", lambda path: None, "cannot be read"),
    ],
)
def test_a_photo_that_shows_not_exactly_one_face_enrols_nobody(
    astronaut: Path, tmp_path: Path, name: str, make: object, reason: str
) -> None:
    photo = tmp_path / f"{name}.png"
    make(photo)  # type: ignore[operator]
    result = run("enrol", "eileen", astronaut, photo)
    assert result.exit_code == 1
    assert reason in result.stderr
    assert not Path("gallery.npz").exists(), "all photos, or none"


def test_a_pickle_is_converted_before_it_is_changed(astronaut: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "encoding", tmp_path / "new.npz"
    old.write_bytes(pickle.dumps({"name": ["bob"], "encoding": [np.zeros(128)]}))
    refused = run("enrol", "eileen", astronaut, "--encodings", old)
    assert f"the gallery {old} is a pickle" in refused.stderr
    assert (refused.exit_code, "rollcall gallery convert" in refused.stderr) == (1, True)
    assert run("gallery", "convert", old, new).exit_code == 0
    assert run("enrol", "eileen", astronaut, "--encodings", new).exit_code == 0
    assert parse_gallery(new.read_bytes()).people == ("bob", "eileen")


def test_replay_puts_dead_letters_back(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox.sqlite3")
    inbox.add([VideoRef("b", f"{n}.mp4", event_id=str(n)) for n in range(3)])
    for _ in range(3):
        work = inbox.claim(60)
        assert work
        inbox.bury(work, "gone", "gone")
    assert json.loads(run("replay", "--id", "1", "--json").output) == {"replayed": 1}
    assert run("replay", "--id", "99").exit_code == 1
    assert run("replay").output == "2 dead letters put back\n"
    assert inbox.counts()["queued"] == 3
    inbox.close()


def test_bad_usage_is_exit_code_2() -> None:
    assert run("recognise").exit_code == 2
    assert run("replay").exit_code == 2
    assert run("nonsense").exit_code == 2


@pytest.mark.parametrize("command", ["recognise", "enrol", "gallery", "replay", "up"])
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_it_runs_as_a_module() -> None:
    argv = [sys.executable, "-m", "rollcall", "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("rollcall, version ")
