"""Contract 3.3: each video has its own result key."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rollcall.core.errors import KeyNotUsable, NotAVideo
from rollcall.core.keys import (
    MAX_KEY_BYTES,
    VIDEO_EXTENSIONS,
    is_hidden,
    is_video_key,
    report_key,
    result_key,
    why_left_out,
)


@pytest.mark.parametrize(
    ("key", "result"),
    [
        ("x.mp4", "x.csv"),
        ("week 1/a+b %41 é.mp4", "week 1/a+b %41 é.csv"),
        ("a.b.c.mp4", "a.b.c.csv"),
        ("x.csv.mp4", "x.csv.csv"),
        ("x.MP4", "x.MP4.csv"),
        ("x.Mp4", "x.Mp4.csv"),
        ("x.avi", "x.avi.csv"),
        ("x.mov", "x.mov.csv"),
        ("x.avi.mp4", "x.avi.mp4.csv"),
        ("x.AVI.mp4", "x.AVI.mp4.csv"),
        ("x.mp4.mp4", "x.mp4.mp4.csv"),
        ("x.mp4.mp4.mp4", "x.mp4.mp4.mp4.csv"),
        ("x.mp4.avi", "x.mp4.avi.csv"),
        ("folder.mp4/x.mp4", "folder.mp4/x.csv"),
        ("folder.avi/.mp4", "folder.avi/.csv"),
        (".mp4", ".csv"),
    ],
)
def test_result_key(key: str, result: str) -> None:
    assert result_key(key) == result


@pytest.mark.parametrize(
    "key", ["x", "", "mp4", "x.mp4/", "x.mp4.txt", "x.csv", "x.mp4 ", "x.m3u8"]
)
def test_keys_without_a_video_extension_are_refused(key: str) -> None:
    assert not is_video_key(key)
    with pytest.raises(NotAVideo, match="rename it"):
        result_key(key)


@pytest.mark.parametrize("extension", VIDEO_EXTENSIONS)
def test_extensions_may_be_in_upper_or_lower_case(extension: str) -> None:
    assert is_video_key("x" + extension)
    assert is_video_key("x" + extension.upper())


@pytest.mark.parametrize(
    "path",
    [".DS_Store", "._x.mp4", "__MACOSX/x.mp4", "a/__macosx/x.mp4", ".git/x.mp4", "a/.x/b.mp4"],
)
def test_hidden_files_are_left_out(path: str) -> None:
    assert is_hidden(path)
    assert why_left_out(path) == "hidden"


@pytest.mark.parametrize("path", ["x.mp4", "a/x..mp4", "MACOSX/x.mp4", "__MACOSX.mp4", "é.MOV"])
def test_videos_of_a_folder(path: str) -> None:
    assert not why_left_out(path)


def test_names_that_cannot_be_keys_are_left_out() -> None:
    assert "not UTF-8" in why_left_out("\udce9.mp4")
    assert not why_left_out("x" * (MAX_KEY_BYTES - 4) + ".mp4")
    assert "longer than" in why_left_out("x" * (MAX_KEY_BYTES - 3) + ".mp4")


PARTS = st.sampled_from([".mp4", ".MP4", ".Mp4", ".avi", ".mov", ".csv", "x", "y", "/", ".", " "])
VIDEOS = st.builds(
    lambda parts, last: "".join(parts) + last,
    st.lists(PARTS | st.text(max_size=3), max_size=5),
    st.sampled_from([".mp4", ".MP4", ".avi", ".mkv", ".mp4.mp4", ".avi.mp4"]),
)


@given(st.sets(VIDEOS, min_size=2, max_size=30))
@example({"x.mp4", "x.avi", "x.avi.mp4", "x.MP4", "x.mp4.mp4", "x.csv.mp4", "x.mp4.csv.mp4"})
def test_different_videos_have_different_results(videos: set[str]) -> None:
    assert len({result_key(key) for key in videos}) == len(videos)


def test_all_short_keys_have_different_results() -> None:
    """All short names, while hypothesis only tries a sample."""
    steps = ["x", ".mp4", ".MP4", ".avi", ".csv", "/"]
    names = {""}
    for _ in range(4):
        names |= {name + step for name in names for step in steps}
    videos = {name for name in names if is_video_key(name)}
    assert len({result_key(key) for key in videos}) == len(videos)


def test_the_report_key_is_the_whole_key_with_json() -> None:
    assert report_key("a/x.mp4") == "a/x.mp4.json"
    assert report_key("x") == "x.json"


@pytest.mark.parametrize(
    ("make", "longest"),
    [(result_key, ".mp4"), (result_key, "é.AVI.csv"), (report_key, ".mp4.json")],
)
def test_length_limit_is_in_bytes_of_the_result(make: object, longest: str) -> None:
    assert callable(make)
    key = longest.removesuffix(".csv").removesuffix(".json")
    room = MAX_KEY_BYTES - len(longest.encode())
    assert len(make("a" * room + key).encode()) == MAX_KEY_BYTES
    with pytest.raises(KeyNotUsable, match="shorten"):
        make("a" * (room + 1) + key)
