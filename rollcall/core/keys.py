"""The keys of videos, and of the results and reports that are written for them."""

from __future__ import annotations

from rollcall.core.errors import KeyNotUsable, NotAVideo

_EXTENSIONS = "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv"
VIDEO_EXTENSIONS = tuple(f".{name}" for name in _EXTENSIONS.split(" "))

REPORT_SUFFIX = ".json"
FACES_SUFFIX = ".faces.npz"

MAX_KEY_BYTES = 1024
"""S3's limit for the length of a key in UTF-8 ("Naming Amazon S3 objects")."""


def is_video_key(key: str) -> bool:
    """Whether the key ends with the extension of a video, in upper or lower case."""
    return key.lower().endswith(VIDEO_EXTENSIONS)


def is_hidden(path: str) -> bool:
    """Whether a file is hidden, or was written by an operating system for its own use.

    On disks of other systems, macOS writes a file `._x.mp4` beside each `x.mp4`. It also adds a
    folder `__MACOSX` to ZIP archives.
    """
    return any(part.startswith(".") or part.upper() == "__MACOSX" for part in path.split("/"))


def why_left_out(path: str) -> str:
    """The reason why a file is not uploaded; empty if it is uploaded.

    `path` is relative to the uploaded folder. The reason completes "left out 3 files: 3 ...".
    """
    if is_hidden(path):
        return "hidden"
    if not is_video_key(path):
        return "without a video extension"
    # In a name that is not UTF-8, Python has turned the invalid bytes into lone surrogates. Turned
    # back into bytes and decoded, they become U+FFFD.
    if "\ufffd" in path.encode(errors="surrogateescape").decode(errors="replace"):
        return "with a name that is not UTF-8"
    if len(path.encode()) > MAX_KEY_BYTES:
        return f"with a name longer than {MAX_KEY_BYTES} bytes"
    return ""


def result_key(key: str) -> str:
    """The key of the result: `x.csv` for `x.mp4`; for other videos, the whole key with `.csv`.

    Each video has its own result. Therefore `.mp4` is not removed if another video extension comes
    before it: `x.avi` gives `x.avi.csv`, and `x.avi.mp4` gives `x.avi.mp4.csv`. Raises NotAVideo
    for a key without a video extension, because `x` and `x.mp4` would share `x.csv`. Raises
    KeyNotUsable if the result's key is too long for S3.
    """
    if not is_video_key(key):
        listed = ", ".join(VIDEO_EXTENSIONS)
        raise NotAVideo(f"{key!r} has no video extension; rename it to end in one of {listed}")
    stem = key.removesuffix(".mp4")
    shortened = stem != key and not is_video_key(stem)
    return _checked((stem if shortened else key) + ".csv")


def report_key(key: str) -> str:
    """The key of the report: `x.mp4.json` for `x.mp4`. Raises KeyNotUsable."""
    return _checked(key + REPORT_SUFFIX)


def faces_key(key: str) -> str:
    """The key of the stored faces, beside the report. Raises KeyNotUsable."""
    return _checked(key + FACES_SUFFIX)


def _checked(key: str) -> str:
    if len(key.encode()) > MAX_KEY_BYTES:
        raise KeyNotUsable(
            f"the key {key!r} is longer than {MAX_KEY_BYTES} bytes; shorten the video's name"
        )
    return key
