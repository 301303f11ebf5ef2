"""The first page: is everything all right, and what arrived last?"""

from __future__ import annotations

from flask import Blueprint, render_template

from rollcall.web.parts import parts

pages = Blueprint("now", __name__)


@pages.get("/")
def now() -> str:
    """Counts of work, and the latest results."""
    return render_template("now.html", counts=parts().queue.counts())
