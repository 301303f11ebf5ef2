"""What the decoder's child process and its parent say to each other: JSON, one message a line.

No pickles: a child that a hostile video has taken over must not be able to run anything here.
Pictures go through a shared block of memory with some places, so that others can be filled while
one is looked at.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any

PLACES = 4
"""Buffer size between decoder and detector. It evens out seconds that take longer than others."""

PLACES_WHEN_LARGE = 2
LARGE_PX = 1280 * 800
"""Fewer frames are decoded ahead if they are larger, because the child keeps those in between."""

KEPT_PLACE = PLACES
"""One more place in the shared memory, which only kept frames use: a kept frame overwrites neither
the frame that the parent looks at nor those that were decoded ahead."""

ALL_PLACES = PLACES + 1

CHANNELS = 3
MAX_MESSAGE_BYTES = 1 << 16

Message = dict[str, Any]


class PeerGone(Exception):
    """The other side has ended, or says what nobody understands."""


class PeerSlow(Exception):
    """The other side has not answered, or not read, in time."""


class Wire:
    """Two pipes' ends as file descriptors."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._buffer = b""

    def send(self, message: Message, deadline_s: float | None = None) -> None:
        """Waits up to that point of `time.monotonic` while the other side does not read, where the
        pipe is non-blocking. Raises PeerGone or PeerSlow.
        """
        data = json.dumps(message).encode() + b"\n"
        while data:
            try:
                data = data[os.write(self._outgoing, data) :]
            except BlockingIOError:
                self._await_room(deadline_s)
            except OSError as error:
                raise PeerGone(str(error)) from error

    def _await_room(self, deadline_s: float | None) -> None:
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        if not select.select([], [self._outgoing], [], left_s)[1]:
            raise PeerSlow

    def has_more(self) -> bool:
        """Whether the other side has said something that was not received yet."""
        return b"\n" in self._buffer or bool(select.select([self._incoming], [], [], 0)[0])

    def receive(self, deadline_s: float | None = None) -> Message:
        """The next message, waited for up to that point of `time.monotonic`.

        Raises PeerGone or PeerSlow.
        """
        if deadline_s is not None and time.monotonic() > deadline_s:
            raise PeerSlow
        while b"\n" not in self._buffer:
            self._buffer += self._read(deadline_s)
            if len(self._buffer) > MAX_MESSAGE_BYTES:
                raise PeerGone("a message without end")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except (RecursionError, ValueError) as error:
            raise PeerGone("a message that is not JSON") from error
        if not isinstance(message, dict):
            raise PeerGone("a message that is not an object")
        return message

    def _read(self, deadline_s: float | None) -> bytes:
        if deadline_s is not None:
            left_s = max(0.0, deadline_s - time.monotonic())
            if not select.select([self._incoming], [], [], left_s)[0]:
                raise PeerSlow
        try:
            data = os.read(self._incoming, MAX_MESSAGE_BYTES)
        except OSError as error:
            raise PeerGone(str(error)) from error
        if not data:
            raise PeerGone("the pipe is closed")
        return data
