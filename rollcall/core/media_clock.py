"""Turns the time stamps of frames, which may start anywhere and jump, into seconds of content.

Broadcasts and some cameras stamp frames with the time of day. When a camera restarts, the stamps
begin again at zero; when its clock is set, they jump by hours. Such jumps are not content
(docs/decisions/0051).
"""

from __future__ import annotations

MAX_STEP_S = 600.0
"""A longer step between two frames means that the clock was set. In a shorter step, the picture
stood still: slide shows and screen recordings show a picture for minutes, while clocks jump by
hours."""

MAX_STEP_BACK_S = 1.0
"""A larger step back means that the clock was set. A smaller one is jitter."""

MAX_HOLD_S = 2.0
"""A picture that stands still for longer than this adds only this much to `moving_s`. Looks are
spread over `moving_s`, and one look at a still picture shows everybody on it."""


class MediaClock:
    """Counts seconds from the first frame, in two ways.

    `time_s` is the time at which a player shows the frame. `moving_s` counts at most `hold_s`
    seconds for the step between two frames, so that most looks are at the moving parts of the
    video.
    """

    def __init__(
        self, frame_s: float, start_s: float | None = None, hold_s: float = MAX_HOLD_S
    ) -> None:
        """`frame_s` is the duration of a frame without a usable stamp.

        `start_s` is the stamp of the first frame; with None, it is the first stamp that is passed
        to `advance`.
        """
        self.jumps = 0
        """How often the stamps have jumped so far."""
        self.moving_s = -1.0
        """`moving_s` of the last frame; -1 before the first frame."""
        self._frame_s = frame_s
        self._hold_s = hold_s
        self._start_s = start_s
        self._time_s: float | None = None
        self._wanted_s = self._wanted_moving_s = 0.0

    @property
    def time_s(self) -> float:
        """Time of the last frame; -1 before the first frame."""
        return -1.0 if self._time_s is None else self._time_s

    def advance(self, stamp_s: float | None) -> float:
        """Advance to the next frame in order of presentation, and return the frame's time.

        If the stamp is missing, repeated or a little too early, the clock advances by one frame.
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
        """The stamp of the frame at this time if the stamps do not jump."""
        return time_s + (self._start_s or 0.0)

    def seek(self, wanted_s: float, wanted_moving_s: float) -> None:
        """Prepare for a seek to this time. The next stamp shows where the seek ended."""
        self._time_s = None
        self._wanted_s, self._wanted_moving_s = wanted_s, wanted_moving_s

    def _first(self, stamp_s: float | None) -> float:
        """The time of the first frame in the video or after a seek."""
        if stamp_s is None:
            return self._wanted_s
        if self._start_s is None:
            self._start_s = stamp_s
        time_s = stamp_s - self._start_s
        # A stamp far from the wanted time means that the stamps jumped in the part that was
        # skipped, or that the container's start time is wrong.
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
        """Count a jump, and shift the start so that later stamps continue without a gap."""
        self.jumps += 1
        self._start_s = (self._start_s or 0.0) + seconds
