"""Seconds of content, from time stamps that may start anywhere and jump.

A broadcast or a camera stamps its frames with the time of day, a camera that restarts begins again
at zero, and a camera that sets its clock jumps by hours. None of that is content.
"""

from __future__ import annotations

MAX_STEP_S = 600.0
"""A longer step between two frames is a clock that was set, not a picture that stood still. Slide
shows and screen recordings hold a picture for minutes; clocks jump by hours."""

MAX_STEP_BACK_S = 1.0
"""A larger step back is a clock that was set; a smaller one is jitter."""

MAX_HOLD_S = 2.0
"""A picture that stands still for longer counts as so long where looks are spread over a video:
whoever is on it has been seen, and the time is better spent on other pictures."""


class MediaClock:
    """Counts from the first frame, in two ways. Stamps and results are in seconds.

    `time_s` is where a player shows the frame. `moving_s` leaves out what is longer than `hold_s`
    between two frames; looks are spread over it, so neither a still picture nor a clock that jumps
    takes looks away from the rest. `frame_s` is how long a frame lasts where stamps do not say it.
    """

    def __init__(
        self, frame_s: float, start_s: float | None = None, hold_s: float = MAX_HOLD_S
    ) -> None:
        self.jumps = 0
        """How often the stamps jumped so far."""
        self.moving_s = -1.0
        self._frame_s = frame_s
        self._hold_s = hold_s
        self._start_s = start_s
        self._time_s: float | None = None
        self._wanted_s = self._wanted_moving_s = 0.0

    @property
    def time_s(self) -> float:
        """The time of the last frame; -1 before the first one."""
        return -1.0 if self._time_s is None else self._time_s

    def at(self, stamp_s: float | None) -> float:
        """The time of the next frame, in order of presentation.

        Where stamps are missing, stand still or run back a little, the frame rate counts.
        """
        if self._time_s is None:
            self._time_s = self._first(stamp_s)
            late_s = self._time_s - self._wanted_s
            self.moving_s = max(0.0, self._wanted_moving_s + min(late_s, self._hold_s))
        else:
            step_s = self._step(self._time_s, stamp_s)
            self._time_s += step_s
            self.moving_s += min(step_s, self._hold_s)
        return self._time_s

    def stamp_s(self, time_s: float) -> float:
        """The stamp of that time, if the clock does not jump before it."""
        return time_s + (self._start_s or 0.0)

    def seek(self, wanted_s: float, wanted_moving_s: float) -> None:
        """Decoding starts anew, at or before that time; the next stamp counts."""
        self._time_s = None
        self._wanted_s, self._wanted_moving_s = wanted_s, wanted_moving_s

    def _first(self, stamp_s: float | None) -> float:
        """A stamp far from the wanted time means that the clock jumped in the part that was
        skipped, or that the container's start time is wrong."""
        if stamp_s is None:
            return self._wanted_s
        if self._start_s is None:
            self._start_s = stamp_s
        time_s = stamp_s - self._start_s
        if not -MAX_STEP_BACK_S <= time_s <= self._wanted_s + MAX_STEP_S:
            self._set_by(time_s - self._wanted_s)
            return self._wanted_s
        return max(0.0, time_s)

    def _step(self, time_s: float, stamp_s: float | None) -> float:
        if stamp_s is None:
            return self._frame_s
        step_s = stamp_s - (self._start_s or 0.0) - time_s
        if not -MAX_STEP_BACK_S <= step_s <= MAX_STEP_S:
            self._set_by(step_s - self._frame_s)
            return self._frame_s
        return step_s if step_s > 0 else self._frame_s

    def _set_by(self, seconds: float) -> None:
        self.jumps += 1
        self._start_s = (self._start_s or 0.0) + seconds
