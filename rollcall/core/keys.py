"""Names of videos and of their results."""

from __future__ import annotations

from rollcall.core.errors import KeyNotUsable, NotAVideo

_EXTENSIONS = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
VIDEO_EXTENSIONS = tuple(f".{name}" for name in _EXTENSIONS.split(" "))

MAX_KEY_BYTES = 1024
"""S3's limit for a key, in bytes of UTF-8."""


def is_video_key(key: str) -> bool:
    """Whether the name ends in an extension of a video, in whatever case."""
    return key.lower().endswith(VIDEO_EXTENSIONS)


def is_hidden(path: str) -> bool:
    """Whether a file is hidden or belongs to the system of the machine that made the folder.

    macOS leaves `._x.mp4` beside each `x.mp4` on foreign disks, and `__MACOSX` in ZIP archives.
    """
    return any(part.startswith(".") or part.upper() == "__MACOSX" for part in path.split("/"))


def why_left_out(path: str) -> str:
    """Why a file of a folder is not uploaded; empty for a video. `path` is relative to the folder.

    A name that is not UTF-8 has lone surrogates, as Python reads it from a file system.
    """
    if is_hidden(path):
        return "hidden"
    if not is_video_key(path):
        return "without a video extension"
    if "\ufffd" in path.encode(errors="surrogateescape").decode(errors="replace"):
        return "with a name that is not UTF-8"
    if len(path.encode()) > MAX_KEY_BYTES:
        return f"with a name longer than {MAX_KEY_BYTES} bytes"
    return ""


def result_key(key: str) -> str:
    """`x.mp4` -> `x.csv`; another video name, or a stem that is one -> the whole key + `.csv`.

    Injective over video names. A name without a video extension raises NotAVideo: `x` and `x.mp4`
    would both be `x.csv`. Raises KeyNotUsable when the result's key is longer than S3 takes.
    """
    if not is_video_key(key):
        listed = ", ".join(VIDEO_EXTENSIONS)
        raise NotAVideo(f"{key!r} has no video extension; rename it to end in one of {listed}")
    stem = key.removesuffix(".mp4")
    shortened = stem != key and not is_video_key(stem)
    return _checked((stem if shortened else key) + ".csv")


def report_key(key: str) -> str:
    """`x.mp4` -> `x.mp4.json`."""
    return _checked(key + ".json")


def _checked(key: str) -> str:
    if len(key.encode()) > MAX_KEY_BYTES:
        raise KeyNotUsable(
            f"the key {key!r} is longer than {MAX_KEY_BYTES} bytes; shorten the video's name"
        )
    return key
