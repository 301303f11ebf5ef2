"""Hostile videos: each gets the documented answer, and none can open another file or an address."""

from __future__ import annotations

import io
import socket
import struct
import threading
import zipfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from support.home import Home, answer, make_home
from support.videos import paint_frame, paint_video

RED = ["red"]


def encoded(
    path: Path,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (160, 96),
    stamps: tuple[int, ...] = tuple(range(10)),
    faces: Sequence[str] = RED,
    **options: str,
) -> Path:
    """Make a video with these faces, in frames at these tenths of a second."""
    picture = cv2.resize(paint_frame(faces), size, interpolation=cv2.INTER_NEAREST)[..., ::-1]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 10)
        for stamp in stamps:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("codec", "pixels"),
    [
        ("libx264", "yuv420p10le"),
        ("libx265", "yuv420p10le"),
        ("libx264", "yuv444p"),
        ("libvpx-vp9", "yuv420p"),
        ("mjpeg", "yuvj422p"),
        ("ffv1", "yuv420p16le"),
        ("ffv1", "gray"),
    ],
)
def test_rare_pixel_formats_are_read(home: Home, tmp_path: Path, codec: str, pixels: str) -> None:
    status, result = answer(home, encoded(tmp_path / "a.mkv", codec, pixels), "a.mkv")
    assert (status, result) == (200, "no_face" if pixels == "gray" else "recognised")


def test_8k_is_refused_by_default_and_read_with_a_larger_limit(tmp_path: Path) -> None:
    video = encoded(tmp_path / "a.mkv", size=(7680, 4320), stamps=(0, 1))
    assert answer(make_home(), video, "a.mkv") == (413, "too_large")
    assert answer(make_home(MAX_VIDEO_PX="40000000"), video, "a.mkv")[0] == 200


def test_frames_larger_than_the_header_says_are_refused(tmp_path: Path) -> None:
    """An MPEG stream may change its size at any picture."""
    small = encoded(tmp_path / "a.mpg", "mpeg2video", stamps=tuple(range(30)))
    large = encoded(tmp_path / "b.mpg", "mpeg2video", size=(1280, 720), stamps=tuple(range(60)))
    home = make_home(MAX_VIDEO_PX="100000", SCAN="timeline")
    joined = small.read_bytes() + large.read_bytes()
    assert answer(home, joined, "a.mpg") == (413, "too_large")


def test_a_wrong_size_in_the_header_does_no_harm(home: Home, tmp_path: Path) -> None:
    body = paint_video(tmp_path / "a.mp4", RED).read_bytes()
    at = body.index(b"mp4v") + 4 + 24
    assert body[at : at + 4] == struct.pack(">HH", 160, 96)
    assert answer(home, body[:at] + b"\xff\xff\xff\xff" + body[at + 4 :]) == (200, "recognised")


@pytest.mark.parametrize("scan", ["identify", "timeline"])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "libvpx-vp9"])
def test_a_sound_video_of_an_empty_room_is_not_called_damaged(
    tmp_path: Path, codec: str, scan: str
) -> None:
    """The decoder returns the last frames only after it got the last packet."""
    bf = {"bf": "2"} if codec == "mpeg4" else {}
    video = encoded(tmp_path / "a.mkv", codec, stamps=tuple(range(60)), faces=[], **bf)
    assert answer(make_home(SCAN=scan), video, "a.mkv") == (200, "no_face")


def with_first_picture_blank(path: Path) -> bytes:
    """Return the file's bytes with its first picture zeroed after the start code."""
    body = bytearray(path.read_bytes())
    at = body.index(b"\x00\x00\x01\xb6") + 8
    body[at : at + 300] = bytes(300)
    return bytes(body)


@pytest.mark.parametrize(
    ("key_frames", "expected"), [("10", (200, "recognised")), ("100", (422, "not_a_video"))]
)
def test_frames_count_again_from_the_next_key_frame_after_damage(
    home: Home, tmp_path: Path, key_frames: str, expected: tuple[int, str]
) -> None:
    """Without another key frame, the video must be refused as damaged, and not reported as showing
    nobody."""
    video = encoded(tmp_path / "a.mkv", stamps=tuple(range(60)), g=key_frames)
    assert answer(home, with_first_picture_blank(video), "a.mkv") == expected


@pytest.mark.parametrize("first", [-50, -3, 1_000_000])
def test_stamps_may_begin_anywhere(home: Home, tmp_path: Path, first: int) -> None:
    video = encoded(tmp_path / "a.ts", "mpeg2video", stamps=tuple(range(first, first + 20)))
    assert answer(home, video, "a.ts") == (200, "recognised")


def test_a_variable_frame_rate_is_read(home: Home, tmp_path: Path) -> None:
    video = encoded(tmp_path / "a.mkv", stamps=(0, 1, 2, 40, 41, 300, 301, 302, 900))
    assert answer(home, video, "a.mkv") == (200, "recognised")


def test_a_video_without_frames_is_refused(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        container.start_encoding()
    assert answer(home, path, "a.mkv") == (422, "not_a_video")


def test_sound_alone_is_refused(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        add_silence(container)
    assert answer(home, path) == (422, "not_a_video")


def test_sound_and_subtitles_are_ignored(home: Home, tmp_path: Path) -> None:
    """PyAV imports modules for such tracks, which must happen before the child's limits are set."""
    script = tmp_path / "a.srt"
    script.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    path = tmp_path / "a.mkv"
    picture = paint_frame(RED)[..., ::-1].copy()
    with av.open(str(script)) as texts, av.open(str(path), "w") as container:
        words = container.add_stream_from_template(texts.streams[0])
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        add_silence(container)
        for packet in texts.demux():
            if packet.size:
                packet.stream = words
                container.mux(packet)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert answer(home, path, "a.mkv") == (200, "recognised")


def add_silence(container: av.container.OutputContainer) -> None:
    stream = container.add_stream("aac", rate=8000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
    frame.sample_rate = 8000
    for packet in (*stream.encode(frame), *stream.encode()):
        container.mux(packet)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".gif", ".tiff", ".bmp"])
def test_pictures_are_refused(home: Home, extension: str) -> None:
    _, picture = cv2.imencode(extension, paint_frame(RED))
    assert answer(home, picture.tobytes()) == (422, "not_a_video")


def test_a_codec_that_is_not_allowed_is_refused(home: Home, tmp_path: Path) -> None:
    """ZMBV is a format for recordings of a screen, which cameras do not write."""
    video = encoded(tmp_path / "a.avi", "zmbv", "bgr0")
    assert answer(home, video, "a.avi") == (422, "not_a_video")


def test_an_archive_of_a_video_is_refused(home: Home, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(paint_video(tmp_path / "a.mp4", RED), "a.mp4")
    assert answer(home, packed.getvalue()) == (422, "not_a_video")


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """Listen on a port; yield its number and a list that grows with each connection."""
    connections: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            try:
                while True:
                    client, _ = server.accept()
                    connections.append(b"a connection")
                    client.close()
            except OSError:
                return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield server.getsockname()[1], connections
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


SCRIPTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{url}'\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>{url}</BaseURL></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n",
    "asx": '<ASX version="3.0"><ENTRY><REF HREF="{url}"/></ENTRY></ASX>',
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_script_named_mp4_opens_no_address(
    home: Home, listener: tuple[int, list[bytes]], kind: str
) -> None:
    port, connections = listener
    url = f"http://127.0.0.1:{port}/secret.mp4"
    script = SCRIPTS[kind].format(url=url, port=port)
    assert answer(home, script.encode()) == (422, "not_a_video")
    assert not connections


@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_script_named_mp4_opens_no_file(home: Home, tmp_path: Path, kind: str) -> None:
    """FFmpeg would read the frames of the file that the script names."""
    secret = paint_video(tmp_path / "secret.mp4", RED)
    assert answer(home, SCRIPTS[kind].format(url=secret).encode()) == (422, "not_a_video")


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def with_reference(mp4: bytes, reference: bytes) -> bytes:
    """Return an MP4 that refers to another file for its frames (ISO/IEC 14496-12, dref)."""
    # The index comes after the frames, so only the sizes of the boxes around the reference change.
    at = mp4.index(b"dref") - 4
    old = struct.unpack(">I", mp4[at : at + 4])[0]
    new = box(b"dref", bytes(4), struct.pack(">I", 1), reference)
    changed = bytearray(mp4[:at] + new + mp4[at + old :])
    for around in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        start = changed.index(around) - 4
        size = struct.unpack(">I", changed[start : start + 4])[0]
        changed[start : start + 4] = struct.pack(">I", size + len(new) - old)
    return bytes(changed)


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_an_mp4_that_points_to_another_file_does_not_open_it(
    home: Home, tmp_path: Path, listener: tuple[int, list[bytes]], scheme: str
) -> None:
    """Either the file's own frames are decoded, or the file is refused."""
    port, connections = listener
    blue = paint_video(tmp_path / "secret.mp4", ["blue"])
    url = f"http://127.0.0.1:{port}/secret.mp4" if scheme == "http" else f"file://{blue}"
    mp4 = paint_video(tmp_path / "a.mp4", RED).read_bytes()
    reference = box(b"url ", bytes(4), url.encode() + b"\0")
    status, _ = answer(home, with_reference(mp4, reference))
    assert not connections
    if status == 200:
        assert "alice" in home.result("a.csv")
    else:
        assert status == 422
