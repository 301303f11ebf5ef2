"""Looks at the units of an H.264 or HEVC packet: hides metadata, and knows a fresh start.

Cameras write SEI units (supplemental enhancement information) with wrong lengths. A decoder that is
told to refuse damage refuses the picture beside them as well. The unit types are those of ITU-T
H.264, table 7-1, and H.265, table 7-1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple


class UnitTypes(NamedTuple):
    """How a codec numbers its units. The header's first byte holds the type from bit `shift` on."""

    shift: int
    mask: int
    header_bytes: int
    metadata: frozenset[int]
    filler: int
    pictures: frozenset[int]
    restart: frozenset[int]
    """Pictures after which nothing refers to anything before them."""
    length_size_at: int
    """Offset of the byte in the codec's configuration that gives the size of a unit's length."""

    def of(self, header: int) -> int:
        return header >> self.shift & self.mask


UNIT_TYPES = {
    "h264": UnitTypes(0, 0x1F, 1, frozenset({6}), 12, frozenset(range(1, 6)), frozenset({5}), 4),
    "hevc": UnitTypes(
        1, 0x3F, 2, frozenset({39, 40}), 38, frozenset(range(32)), frozenset(range(16, 21)), 21
    ),
}

RECOVERY_POINT, DISPLAY_ORIENTATION = 6, 47
KEPT_MESSAGES = frozenset({RECOVERY_POINT, DISPLAY_ORIENTATION})
"""SEI messages that decide which pictures are shown, and how (H.264, D.1.1)."""

START_CODE = b"\0\0\1"


def hide_metadata(
    packet: bytes, codec: str, configuration: bytes | None, kept: frozenset[int] = frozenset()
) -> bytes:
    """The packet with its metadata units marked as filler, which decoders skip.

    A unit whose first message is one of `kept` stays. Other codecs' packets come back unchanged.
    """
    types = UNIT_TYPES.get(codec)
    if types is None:
        return packet
    return _hidden(
        packet,
        types,
        configuration,
        lambda unit_type, message: unit_type in types.metadata and message not in kept,
    )


def hide_pictures(packet: bytes, codec: str, configuration: bytes | None) -> bytes:
    """The packet with its pictures marked as filler, so that its metadata is left."""
    types = UNIT_TYPES.get(codec)
    if types is None:
        return packet
    return _hidden(packet, types, configuration, lambda unit_type, _: unit_type in types.pictures)


def _hidden(
    packet: bytes,
    types: UnitTypes,
    configuration: bytes | None,
    hides: Callable[[int, int | None], bool],
) -> bytes:
    """`hides` gets the type of each unit and its first message, if it has one."""
    hidden = bytearray(packet)
    for start in _unit_starts(packet, _length_size(configuration, types)):
        at = start + types.header_bytes
        if hides(types.of(packet[start]), packet[at] if at < len(packet) else None):
            without_type = packet[start] & ~(types.mask << types.shift) & 0xFF
            hidden[start] = without_type | types.filler << types.shift
    return bytes(hidden)


def restarts(packet: bytes, codec: str, configuration: bytes | None) -> bool:
    """Whether decoding can start at this key frame without missing anything.

    H.264 and HEVC also have key frames whose neighbours refer to frames before them. For other
    codecs the answer is yes.
    """
    types = UNIT_TYPES.get(codec)
    if types is None:
        return True
    starts = _unit_starts(packet, _length_size(configuration, types))
    return any(types.of(packet[start]) in types.restart for start in starts)


def _length_size(configuration: bytes | None, types: UnitTypes) -> int:
    """Bytes of the length before each unit; 0 for units behind start codes (Annex B)."""
    if not configuration or configuration.startswith((b"\0\0\1", b"\0\0\0\1")):
        return 0
    if len(configuration) <= types.length_size_at:
        return 0
    return (configuration[types.length_size_at] & 3) + 1


def _unit_starts(packet: bytes, length_size: int) -> Iterator[int]:
    """Where each unit's header is."""
    at = 0
    while length_size and at + length_size < len(packet):
        yield at + length_size
        at += length_size + int.from_bytes(packet[at : at + length_size], "big")
    while not length_size and 0 <= (at := packet.find(START_CODE, at)) < len(packet) - 3:
        at += len(START_CODE)
        yield at
