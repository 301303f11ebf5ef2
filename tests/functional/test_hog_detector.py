"""The HOG detector from the cache is dlib's own."""

from __future__ import annotations

from pathlib import Path

import cv2
import dlib
import pytest
from support.pictures import astronaut, cat, turned

from rollcall.adapters.faces import onnx_models
from rollcall.adapters.faces.hog_detector import hog_detector
from rollcall.adapters.faces.onnx_faces import OnnxFaces, fill_cache
from rollcall.core.types import Pixels


@pytest.mark.parametrize("picture", [astronaut(), astronaut()[:, ::-1], turned(astronaut(), 20)])
def test_the_same_boxes_and_scores_as_dlib(tmp_path: Path, picture: Pixels) -> None:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    expected = dlib.get_frontal_face_detector().run(grey, 0, -0.5)
    assert expected[0]
    for _ in range(2):  # made, then read
        assert hog_detector(tmp_path).run(grey, 0, -0.5) == expected


def test_a_full_cache_is_all_that_an_engine_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_cache(tmp_path)

    def refuse(*_: object) -> None:
        pytest.fail("something was made again")

    monkeypatch.setattr(onnx_models, "read_layers", refuse)
    monkeypatch.setattr(dlib, "get_frontal_face_detector", refuse)
    assert OnnxFaces(tmp_path).faces(astronaut())
    assert OnnxFaces(tmp_path).faces(cat(), thorough=True) == ()
