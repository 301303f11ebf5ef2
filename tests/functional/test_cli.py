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
from support.databases import open_file

from rollcall.cli.main import main
from rollcall.core.errors import DecoderUnavailable
from rollcall.core.gallery import empty_gallery
from rollcall.core.types import Recognition, VideoRef
from rollcall.core.work import Notice
from rollcall.gallery.gallery_formats import parse_gallery, render_gallery
from rollcall.queues.sql_queue import SqlQueue
from rollcall.recognition.recogniser import Recogniser

MODELS = Path.home() / ".cache" / "rollcall"


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test a working directory and a home folder without a gallery."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODEL_CACHE", str(MODELS))
    monkeypatch.chdir(tmp_path)


DEFAULT = Path(".local/share/rollcall/gallery.npz")


def default_gallery() -> Path:
    return Path.home() / DEFAULT


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
    assert list(person) == [
        *("name", "distance", "first_seen_s", "last_seen_s", "frames"),
        *("intervals", "certainty"),
    ]
    assert person["intervals"] == [[0.0, 0.0]]
    assert person["certainty"] == "clear"
    coverage = documents[0]["coverage"]
    assert (coverage["looks"], coverage["faces"], coverage["stopped_at_s"]) == (1, 1, 0.0)
    assert documents[0]["limits"] == ["stopped after the first clear frame at 0 s"]
    assert (documents[0]["status"], documents[0]["error"]) == ("recognised", None)


def test_scan_timeline_uses_more_frames_than_identify(sample: Path) -> None:
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


def test_recognise_prints_text_without_json(sample: Path) -> None:
    video = sample / "videos" / "cat.mp4"
    result = run("recognise", video, "--encodings", sample / "encoding")
    assert result.stdout == f"{video}: nobody\n"


def test_recognise_with_an_empty_gallery_finds_strangers(sample: Path) -> None:
    Path("empty.npz").write_bytes(render_gallery(empty_gallery()))
    video = sample / "videos" / "stranger.mp4"
    result = run("recognise", video, "--encodings", "empty.npz")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{video}: unknown (0 ")


def test_recognise_takes_the_videos_of_a_folder_and_no_photos(
    sample: Path, astronaut: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "notes.txt").touch()
    (folder / "cat.mp4").symlink_to(sample / "videos" / "cat.mp4")
    result = run("recognise", folder, astronaut, "--encodings", sample / "encoding")
    assert result.exit_code == 1
    video, photo = result.stdout.splitlines()
    assert video == f"{folder}/cat.mp4: nobody"
    assert photo.startswith(f"{astronaut}: error: it is a photo")
    assert "use `rollcall find`" in photo


def test_recognise_without_a_gallery_says_how_to_get_one() -> None:
    result = run("recognise", "a.mp4")
    assert result.exit_code == 1
    assert "set ENCODINGS, or create one with `rollcall enrol" in result.stderr


def test_a_file_that_is_not_a_gallery_is_named(tmp_path: Path) -> None:
    Path("odd.npz").write_bytes(b"nonsense")
    commands = ["gallery"], ["recognise", "a.mp4"], ["gallery", "remove", "a"], ["enrol", "a", "b"]
    for command in commands:
        result = run(*command, "--encodings", "odd.npz")
        assert result.exit_code == 1
        assert "the gallery odd.npz " in result.stderr


def test_options_before_a_subcommand_are_refused() -> None:
    result = run("gallery", "--encodings", "a.npz", "remove", "alice")
    assert result.exit_code == 2
    assert "put --encodings and --json after the subcommand" in result.stderr


def test_enrol_then_list_the_gallery(astronaut: Path, tmp_path: Path) -> None:
    first = run("enrol", "eileen", astronaut)
    stored, tolerance = first.stdout.splitlines()
    assert stored == f"eileen: 1 encoding in {default_gallery()}"
    assert tolerance.startswith("tolerance 0.60: ")
    again = run("enrol", "eileen", astronaut)
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert "is a picture that eileen already has" in again.stderr
    assert run("gallery").stdout == "eileen: 1\n"
    assert json.loads(run("gallery", "--json").stdout)["people"] == {"eileen": 1}
    assert default_gallery().stat().st_mode & 0o777 == 0o600
    assert default_gallery().parent.stat().st_mode & 0o077 == 0


def test_the_default_gallery_is_the_same_in_every_folder(
    astronaut: Path, tmp_path: Path, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"gallery {default_gallery()}: 0 people\n"
    assert line in run("enrol", "eileen", astronaut).stderr
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    line = f"gallery {default_gallery()}: 1 person\n"
    video = sample / "videos" / "stranger.mp4"
    commands: list[tuple[list[str | Path], str]] = [
        (["gallery"], "eileen: 1"),
        (["gallery", "remove", "eileen"], "would remove: 1"),
        (["recognise", video, "--json"], '"eileen"'),
    ]
    for command, answer in commands:
        result = run(*command)
        assert result.stderr.startswith(line), command
        assert answer in result.stdout
    assert run("gallery", ENCODINGS=str(tmp_path / "missing.npz")).exit_code == 1


def test_a_gallery_in_this_folder_that_is_not_used_is_mentioned(astronaut: Path) -> None:
    run("enrol", "eileen", astronaut, "--encodings", "gallery.npz")
    run("enrol", "collins", astronaut)
    result = run("gallery")
    assert (result.exit_code, result.stdout) == (0, "collins: 1\n")
    assert "The file gallery.npz in this folder is not used" in result.stderr
    assert "not used" not in run("gallery", "--encodings", "gallery.npz").stderr


@pytest.mark.parametrize("command", [["recognise", "a.mp4"], ["gallery"]])
def test_a_missing_gallery_is_an_error(command: list[str]) -> None:
    result = run(*command, "--encodings", "missing.npz")
    assert result.exit_code == 1
    assert "no gallery at 'missing.npz'" in result.stderr
    assert not Path("missing.npz").exists()


class Stopped(Exception):
    """`rollcall up` would start the programs now."""


@pytest.fixture
def no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any) -> Any:
        raise Stopped

    monkeypatch.setattr("devstack.up.OpenFaasStack", stop)


@pytest.mark.parametrize("encodings", ["", "mine.npz"])
@pytest.mark.parametrize("content", [None, b""])
def test_up_makes_an_empty_gallery_if_there_is_none(
    no_stack: None, encodings: str, content: bytes | None
) -> None:
    path = Path(encodings) if encodings else default_gallery()
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    first, second = run("up", ENCODINGS=encodings), run("up", ENCODINGS=encodings)
    assert isinstance(first.exception, Stopped)
    problem = "did not exist" if content is None else "was an empty file"
    assert f"The gallery {str(path)!r} {problem}, so a new one without people" in first.stderr
    assert f"gallery {path.resolve()}: 0 people\n" in first.stderr
    assert isinstance(second.exception, Stopped)
    assert second.stderr == f"gallery {path.resolve()}: 0 people\n"
    assert parse_gallery(path.read_bytes()).people == ()


def test_up_makes_no_folder_for_a_gallery_that_was_named(no_stack: None) -> None:
    result = run("up", "--encodings", "no-folder/mine.npz")
    assert result.exit_code == 1
    assert "the folder 'no-folder' does not exist; create it, or name" in result.stderr


def test_up_refuses_a_gallery_in_a_bucket() -> None:
    result = run("up", ENCODINGS="s3://galleries/gallery.npz")
    assert result.exit_code == 1
    assert "set --encodings or ENCODINGS to a file" in result.stderr


def test_one_picture_cannot_have_two_names(astronaut: Path) -> None:
    run("enrol", "eileen", astronaut)
    result = run("enrol", "collins", astronaut)
    assert result.exit_code == 1
    assert f"'{astronaut}' cannot be enrolled: it is a picture of eileen" in result.stderr
    assert run("gallery").stdout == "eileen: 1\n"


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
def test_a_photo_that_shows_not_exactly_one_face_is_refused(
    astronaut: Path, tmp_path: Path, name: str, make: object, reason: str
) -> None:
    photo = tmp_path / f"{name}.png"
    make(photo)  # type: ignore[operator]
    alone = run("enrol", "eileen", photo)
    assert (alone.exit_code, alone.stdout) == (1, "")
    assert f"'{photo}'" in alone.stderr
    assert reason in alone.stderr
    assert "nothing was stored" in alone.stderr
    assert not default_gallery().exists()
    beside = run("enrol", "eileen", photo, astronaut)
    assert beside.exit_code == 1
    assert reason in beside.stderr
    assert beside.stdout.startswith(f"eileen: 1 encoding in {default_gallery()}\n")
    assert run("gallery").stdout == "eileen: 1\n"


PERSIAN = "\u062f\u0627\u0646\u0634\u200c\u0622\u0645\u0648\u0632"


def test_names_are_enrolled_and_removed_in_any_spelling(astronaut: Path, tmp_path: Path) -> None:
    mirrored = tmp_path / "mirrored.png"
    io.imsave(mirrored, io.imread(astronaut)[:, ::-1])
    for name, photo in ((PERSIAN, astronaut), ("Zoe\u0308\u00a0K.", mirrored)):
        assert run("enrol", name, photo).exit_code == 0
    listed = json.loads(run("gallery", "--json").stdout)["people"]
    assert listed == {"Zo\u00eb K.": 1, PERSIAN: 1}
    assert run("gallery", "remove", " Zo\u00eb  K. ", "--yes").exit_code == 0
    assert run("gallery", "remove", PERSIAN, "--yes").exit_code == 0
    assert run("gallery").stdout == "nobody\n"


def test_a_pickle_is_converted_before_it_is_changed(astronaut: Path, tmp_path: Path) -> None:
    old, new = tmp_path / "encoding", tmp_path / "new.npz"
    old.write_bytes(pickle.dumps({"name": ["bob"], "encoding": [np.zeros(128)]}))
    refused = run("enrol", "eileen", astronaut, "--encodings", old)
    assert f"the gallery {old} is a pickle" in refused.stderr
    assert (refused.exit_code, "rollcall gallery convert" in refused.stderr) == (1, True)
    assert run("gallery", "convert", old, new).exit_code == 0
    assert run("enrol", "eileen", astronaut, "--encodings", new).exit_code == 0
    assert parse_gallery(new.read_bytes()).people == ("bob", "eileen")


def test_convert_replaces_a_file_only_with_yes(tmp_path: Path) -> None:
    old, new = tmp_path / "encoding", tmp_path / "new.npz"
    old.write_bytes(pickle.dumps({"name": ["bob"], "encoding": [np.zeros(128)]}))
    new.write_bytes(b"somebody's gallery")
    result = run("gallery", "convert", old, new)
    assert (result.exit_code, "replace the file with --yes" in result.stderr) == (1, True)
    assert new.read_bytes() == b"somebody's gallery"
    assert run("gallery", "convert", old, new, "--yes").exit_code == 0
    assert parse_gallery(new.read_bytes()).people == ("bob",)


def test_replay_puts_dead_letters_back(tmp_path: Path) -> None:
    inbox = SqlQueue(open_file(tmp_path / "inbox.sqlite3"))
    inbox.add([VideoRef("b", f"{n}.mp4", event_id=str(n)) for n in range(3)])
    for work in inbox.claim(3, 60):
        inbox.bury(work, "gone", "gone")
    assert json.loads(run("replay", "--id", "1", "--json").output) == {"replayed": 1}
    assert run("replay", "--id", "99").exit_code == 1
    assert run("replay").output == "put back 2 dead letters\n"
    assert inbox.counts()["queued"] == 3
    inbox.close()


def test_replay_puts_messages_back(tmp_path: Path) -> None:
    inbox = SqlQueue(open_file(tmp_path / "inbox.sqlite3"))
    inbox.add([VideoRef("b", "a.mp4", event_id="1")])
    (work,) = inbox.claim(1, 60)
    inbox.bury(work, "gone", "gone", Notice("msg_1", "{}"))
    inbox.outbox.add([Notice("msg_2", "{}")])
    for notice in inbox.outbox.claim(2, 60):
        inbox.outbox.bury(notice, "http_500", "the receiver answered 500")
    assert run("replay", "--notices", "--id", "1", "--json").stdout == '{"replayed": 1}\n'
    assert run("replay", "--notices", "--id", "1").exit_code == 1
    assert run("replay", "--notices").output == "put back 1 dead letter\n"
    assert inbox.outbox.counts() == {"queued": 2, "running": 0, "dead": 0}
    assert inbox.counts()["dead"] == 1
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


def test_rollcall_runs_as_a_module() -> None:
    argv = [sys.executable, "-m", "rollcall", "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("rollcall, version ")
