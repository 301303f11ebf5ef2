"""Only video containers reach the decoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.needs import classroom_folder

from rollcall.core.containers import HEAD_BYTES, container_of, kind_of

TS_PACKET = b"\x47" + bytes(187)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x00\x00\x00\x20ftypisom", "mp4"),
        (b"\x00\x00\x00\x14ftypqt  ", "mp4"),
        (b"\x00\x00\x00\x08wide\x00\x00", "mp4"),
        (b"\x00\x00\x00\x6cmoov\x00\x00", "mp4"),
        (b"\x00\x00\x00\x01mdat\x00\x00", "mp4"),
        (b"RIFF\x00\x10\x00\x00AVI LIST", "avi"),
        (b"\x1a\x45\xdf\xa3\x01\x00", "matroska"),
        (b"FLV\x01\x05", "flv"),
        (b"OggS\x00\x02", "ogg"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "asf"),
        (b"\x00\x00\x01\xba\x44", "mpeg-ps"),
        (b"\x00\x00\x01\xb3\x14", "mpeg-video"),
        (TS_PACKET * 2, "mpeg-ts"),
        ((b"\x00\x00\x00\x00" + TS_PACKET) * 2, "mpeg-ts"),
        (b"\x00\x00\x00\x18stypmsdh\x00\x00\x00\x00msdhmsix", "mp4"),
        (b"\x00\x00\x00\x2csidx\x00", "mp4"),
        (b"\x00\x00\x00\x18uuid" + bytes(16), "mp4"),
        (b"\x00\x00\x00\x40emsg\x01", "mp4"),
        (b"\x00\x00\x00\x1cprft\x01", "mp4"),
        (b"\x00\x00\x00\x68moof\x00", "mp4"),
        ((TS_PACKET + bytes(16)) * 2, "mpeg-ts"),
    ],
)
def test_video_containers_are_recognised(head: bytes, name: str) -> None:
    assert container_of(head) == name
    assert container_of(head.ljust(HEAD_BYTES, b"\x00")) == name


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"#EXTM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd",
        b"ffconcat version 1.0\nfile /etc/passwd",
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1",
        b"<?xml version='1.0'?><MPD>",
        b"[playlist]\nFile1=http://127.0.0.1/",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\x00\x10\x00\x00WAVEfmt ",
        b"RIFF\x00\x10\x00\x00WEBPVP8 ",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"ID3\x04\x00",
        TS_PACKET,
        b"G" + b"x" * 400,
        b"ftypisom",
        b"\x1a\x45\xdf",
        b"#EXTstypM3U\n#EXT-X-VERSION:3\nfile:///etc/passwd",
        b"\x00\x00\x00\x04sidx",
        b"IMKH" + bytes(36) + b"\x00\x00\x01\xba\x00",
        b"\xff\xd8\xff" + bytes(36) + b"\x00\x00\x01\xba\x44",
    ],
    ids=repr,
)
def test_other_files_are_not_recognised(head: bytes) -> None:
    assert container_of(head) is None
    assert container_of(head.ljust(HEAD_BYTES, b"\x00")) is None


@pytest.mark.parametrize("size", [188, 192, 204])
@pytest.mark.parametrize("lead", [0, 1, 87, 101, 187, 203, 700, 2048])
def test_a_transport_stream_may_start_in_the_middle_of_a_packet(size: int, lead: int) -> None:
    time_code = bytes(4) if size == 192 else b""
    packet = (time_code + TS_PACKET).ljust(size, b"\x00")
    assert container_of((bytes(lead) + packet * 25)[:HEAD_BYTES]) == "mpeg-ts"
    assert container_of(bytes(lead) + packet * 25) == "mpeg-ts"


@pytest.mark.parametrize("first", [b"{", b"<"])
def test_the_rest_of_a_packet_may_look_like_text(first: bytes) -> None:
    assert container_of(first + bytes(100) + TS_PACKET * 10) == "mpeg-ts"
    assert container_of(first + bytes(2000) + b"\x00\x00\x01\xba\x44") == "mpeg-ps"


def test_four_sync_bytes_are_too_few_for_a_transport_stream() -> None:
    head = bytearray(HEAD_BYTES)
    for number in range(4):
        head[50 + number * 188] = 0x47
    assert container_of(bytes(head)) is None


@pytest.mark.parametrize("lead", [b"IMKH" + bytes(36), b"X" * 512, b"\x00\x00\x01\xbb" + bytes(60)])
@pytest.mark.parametrize("mark", [b"\x44", b"\x21"])
def test_a_program_stream_may_follow_a_recorders_header(lead: bytes, mark: bytes) -> None:
    assert container_of(lead + b"\x00\x00\x01\xba" + mark) == "mpeg-ps"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"#EXTM3U\n", "a playlist, which only names other files"),
        (b"RIFF\x00\x10\x00\x00WAVEfmt ", "a WAV sound file"),
        (b"RIFF\x00\x10\x00\x00WEBPVP8 ", "a WebP picture"),
        (b"RIFF\x00\x10\x00\x00????", "not a video container (MP4, MKV, AVI, ...)"),
        (b"DHAV", "a Dahua recorder's own format; export it as MP4"),
    ],
)
def test_other_files_are_described(head: bytes, kind: str) -> None:
    assert kind_of(head) == kind


@given(st.binary(max_size=HEAD_BYTES))
def test_arbitrary_bytes_raise_no_error(head: bytes) -> None:
    assert container_of(head) is None or head


def test_real_clips_are_recognised() -> None:
    for path in (classroom_folder() / "videos").iterdir():
        with open(path, "rb") as file:
            assert container_of(file.read(HEAD_BYTES)) == "mp4"
