"""One form of log lines for every program."""

from __future__ import annotations

import logging


def set_up_logs() -> None:
    """Libraries below warning, except our own: httpx tells of every call."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form)
    logging.getLogger("rollcall").setLevel(logging.INFO)
