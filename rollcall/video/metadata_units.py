"""Reads and edits the units in a packet of H.264 or HEVC.

A packet is a sequence of units: pictures, settings, and metadata (SEI, supplemental enhancement
information). Some cameras write SEI units with wrong lengths, and a decoder that is told to refuse
damage then refuses the whole packet with its picture. So `PacketDecoder` hides such metadata. Unit
types are listed in table 7-1 of ITU-T H.264, and in table 7-1 of H.265.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple


class UnitTypes(NamedTuple):
    """A codec's numbers for its types of units.

    The type is in the first byte of a unit's header, in the bits of `mask` after a right shift by
    `shift`.
    """

    shift: int
    mask: int
    header_bytes: int
    metadata: frozenset[int]
    filler: int
    """The type of units that have no meaning. Decoders skip them."""
    pictures: frozenset[int]
    restart: frozenset[int]
    """Key pictures at which decoding can start: no later picture refers to an earlier one."""
    length_size_at: int
    """Offset of the byte in the codec's configuration that says how many bytes a unit's length
    has."""

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
    """Return the packet with its metadata units marked as filler.

    A unit whose first message is of a type in `kept` stays unchanged. The packet keeps its length.
    Packets of other codecs are returned unchanged. `configuration` is the codec's configuration
    from the container's header.
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
    """Return the packet with its pictures marked as filler, so that only its metadata is left."""
    types = UNIT_TYPES.get(codec)
    if types is None:
        return packet
    return _hidden(packet, types, configuration, lambda unit_type, _: unit_type in types.pictures)


def restarts(packet: bytes, codec: str, configuration: bytes | None) -> bool:
    """Whether decoding can start at this key frame without missing anything.

    In H.264 and HEVC, frames near a key frame may refer to frames before it (an open group of
    pictures). For other codecs the answer is always yes.
    """
    types = UNIT_TYPES.get(codec)
    if types is None:
        return True
    starts = _unit_starts(packet, _length_size(configuration, types))
    return any(types.of(packet[start]) in types.restart for start in starts)


def _hidden(
    packet: bytes,
    types: UnitTypes,
    configuration: bytes | None,
    hides: Callable[[int, int | None], bool],
) -> bytes:
    """Mark units as filler if `hides` returns true for them.

    The arguments of `hides` are the type of the unit, and the type of the unit's first message
    (None if the unit is too short to have one).
    """
    hidden = bytearray(packet)
    for start in _unit_starts(packet, _length_size(configuration, types)):
        at = start + types.header_bytes
        if hides(types.of(packet[start]), packet[at] if at < len(packet) else None):
            without_type = packet[start] & ~(types.mask << types.shift) & 0xFF
            hidden[start] = without_type | types.filler << types.shift
    return bytes(hidden)


def _length_size(configuration: bytes | None, types: UnitTypes) -> int:
    """Return how many bytes the length before each unit has; 0 if start codes precede units.

    In MP4 and Matroska, units have lengths, and the configuration says so. In MPEG streams, units
    have start codes (Annex B).
    """
    if not configuration or configuration.startswith((b"\0\0\1", b"\0\0\0\1")):
        return 0
    if len(configuration) <= types.length_size_at:
        return 0
    return (configuration[types.length_size_at] & 3) + 1


def _unit_starts(packet: bytes, length_size: int) -> Iterator[int]:
    """Yield the offset of each unit's header."""
    at = 0
    while length_size and at + length_size < len(packet):
        yield at + length_size
        at += length_size + int.from_bytes(packet[at : at + length_size], "big")
    while not length_size and 0 <= (at := packet.find(START_CODE, at)) < len(packet) - 3:
        at += len(START_CODE)
        yield at
