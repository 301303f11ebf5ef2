"""What `rollcall web` says about parts of the pages that the settings switch off."""

from __future__ import annotations

from rollcall.core.page_hints import missing_on_pages
from rollcall.core.settings import Settings


def test_the_pages_say_how_to_switch_on_what_is_missing() -> None:
    assert missing_on_pages(Settings(keep_faces="encodings")) == []
    (faces,) = missing_on_pages(Settings())
    assert "Set KEEP_FACES=pictures" in faces
    (reports,) = missing_on_pages(Settings(report_bucket=""))
    assert "REPORT_BUCKET is empty" in reports
