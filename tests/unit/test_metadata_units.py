"""Metadata units are hidden in packets of H.264 and HEVC, with lengths and with start codes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollcall.video.metadata_units import KEPT_MESSAGES, hide_metadata, restarts

SLICE, IDR, SEI, RECOVERY, FILLER = b"\x41abc", b"\x65abc", b"\x06\x05xyz", b"\x06\x06\x01\x84", 12
AVC = bytes([1, 100, 0, 31, 0xFF, 0xE1])
HEVC = bytes(21) + b"\x03"


def lengths(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def start_codes(*units: bytes) -> bytes:
    return b"".join(b"\0\0\0\1" + unit for unit in units)


@pytest.mark.parametrize(("pack", "configuration"), [(lengths, AVC), (start_codes, None)])
def test_metadata_becomes_filler(pack: type[bytes], configuration: bytes | None) -> None:
    hidden = hide_metadata(pack(SEI, RECOVERY, SLICE), "h264", configuration, KEPT_MESSAGES)
    assert hidden == pack(bytes([FILLER]) + SEI[1:], RECOVERY, SLICE)
    hidden = hide_metadata(pack(SEI, RECOVERY, SLICE), "h264", configuration)
    assert hidden == pack(bytes([FILLER]) + SEI[1:], bytes([FILLER]) + RECOVERY[1:], SLICE)


def test_metadata_of_hevc_is_hidden_before_and_after_the_picture() -> None:
    before, picture, after = b"\x4e\x01\x05x", b"\x26\x01abc", b"\x50\x01\x84x"
    hidden = hide_metadata(lengths(before, picture, after), "hevc", HEVC)
    assert hidden == lengths(b"\x4c\x01\x05x", picture, b"\x4c\x01\x84x")


def test_decoding_can_start_only_at_some_key_frames() -> None:
    assert restarts(lengths(SEI, IDR), "h264", AVC)
    assert not restarts(lengths(RECOVERY, SLICE), "h264", AVC)
    assert restarts(start_codes(b"\x26\x01abc"), "hevc", None)
    assert not restarts(start_codes(b"\x2a\x01abc"), "hevc", None)
    assert restarts(b"anything", "mpeg4", None)


def test_packets_of_other_codecs_are_not_changed() -> None:
    assert hide_metadata(lengths(SEI), "vp9", None) == lengths(SEI)


@given(st.binary(max_size=200), st.sampled_from([AVC, HEVC, None, b"\1", b""]))
def test_any_bytes_keep_their_length(packet: bytes, configuration: bytes | None) -> None:
    for codec in ("h264", "hevc"):
        assert len(hide_metadata(packet, codec, configuration)) == len(packet)
        restarts(packet, codec, configuration)
