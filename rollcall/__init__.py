"""Rollcall: a video lands in your own storage, and a moment later you know who is in it."""

__version__ = "0.1.0"
