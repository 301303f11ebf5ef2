"""Finds key frames in a file without a complete index, by reading the file's packets in order.

`KeyLooks` uses `ReadAhead` for Matroska, MPEG streams and fragmented MP4, among others. Packets
stay in memory as long as they may be needed, so the file is read only once. Reading is cheap
compared with decoding: 15,000 packets (97 MB) took 0.06 s of processor time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

from rollcall.core.media_clock import MediaClock
from rollcall.video.key_index import Key, MediaTime
from rollcall.video.opening import AnyPacket

MAX_AHEAD_BYTES = 32 << 20
"""Memory for packets that were read ahead: twenty seconds at 13 Mbit/s, which is two steps of ten
seconds. At higher bit rates fewer seconds are read ahead, and the looks are closer together."""


class ReadAhead:
    """Implements `Keys` with a buffer of packets.

    Times are counted from decoding stamps. Packets come in the order of these stamps, so a large
    step between two packets always means that the clock jumps or a picture stands still, and never
    that a frame is merely shown out of order.
    """

    def __init__(
        self,
        packets: Iterator[AnyPacket],
        tick_s: Fraction,
        frame_s: float,
        start_s: float,
        hold_s: float,
    ) -> None:
        """`packets` are those of the whole file, and `start_s` is the stamp of its first frame.

        `frame_s` is the duration of a frame. A still picture counts as `hold_s` at most.
        """
        self._packets = packets
        self._tick_s = tick_s
        self._start_s = start_s
        self._clock = MediaClock(frame_s, start_s, hold_s)
        self._shift: int | None = None
        """Number of ticks between the first key frame's decoding stamp and the time when it is
        shown."""
        self._buffer: deque[AnyPacket] = deque()
        self._first = 0
        """The number of the buffer's first packet, counted from the start of the file."""
        self._bytes = 0
        self._keys: deque[tuple[int, Key]] = deque()
        """The known key frames, each with the number of its packet."""
        self._position = 0
        """The number of the packet that the current `Run` reads next."""
        self.end: MediaTime | None = None

    def read_until(self, moving_s: float) -> float:
        while self._clock.moving_s < moving_s:
            if self._bytes > MAX_AHEAD_BYTES or not self._read():
                break
        return self._clock.moving_s if self.end is None else moving_s

    def between(self, after_s: float, until_s: float) -> list[Key]:
        return [key for _, key in self._keys if after_s < key.moving_s <= until_s]

    def first(self) -> Key | None:
        return self._keys[0][1] if self._keys else None

    def first_after(self, moving_s: float) -> Key | None:
        return next((key for _, key in self._keys if key.moving_s > moving_s), None)

    def packets_from(self, key: Key) -> Iterator[AnyPacket]:
        number = next((number for number, each in self._keys if each is key), 0)
        self._position = max(number, self._first)
        while self._position < self._first + len(self._buffer) or self._read():
            packet = self._buffer[self._position - self._first]
            self._position += 1
            yield packet

    def forget_before(self, key: Key | None, *, running: bool) -> None:
        needed = next((number for number, each in self._keys if each is key), 0)
        if running and self._bytes > MAX_AHEAD_BYTES:
            needed = max(needed, self._position)
        while self._buffer and self._first < needed:
            self._bytes -= self._buffer.popleft().size
            self._first += 1
        while self._keys and self._keys[0][0] < self._first:
            self._keys.popleft()

    def _read(self) -> bool:
        packet = next(self._packets, None)
        if packet is None:
            self.end = MediaTime(max(0.0, self._clock.time_s), max(0.0, self._clock.moving_s))
            return False
        self._note(packet, self._first + len(self._buffer))
        self._buffer.append(packet)
        self._bytes += packet.size
        return True

    def _note(self, packet: AnyPacket, number: int) -> None:
        """Advance the clock by a packet, and remember the packet if decoding may begin there."""
        pts = packet.dts if packet.pts is None else packet.pts
        dts = packet.dts if number else pts
        delay = 0 if pts is None or dts is None else pts - dts
        if self._shift is None and packet.is_keyframe:
            self._shift = delay
        # A key frame is shown some ticks after its decoding stamp. The delay is the same for all.
        shift = self._shift or 0
        self._clock.advance(None if dts is None else float((dts + shift) * self._tick_s))
        # Decoding begins at the file's first packet even if that packet is not a key frame.
        if packet.is_keyframe or number == 0:
            after_clock_s = float((delay - shift) * self._tick_s)
            if not self._clock.jumps and pts is not None:
                after_clock_s = float(pts * self._tick_s) - self._start_s - self._clock.time_s
            time_s = max(0.0, self._clock.time_s + after_clock_s)
            moving_s = max(0.0, self._clock.moving_s + after_clock_s)
            self._keys.append((number, Key(pts or 0, time_s, moving_s)))
