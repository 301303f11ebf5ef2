"""The library calls without which no face can be recognised, and nothing else.

`clips` compares Rollcall with these calls, to show how much time Rollcall's own code adds.
"""

from __future__ import annotations

from pathlib import Path

import av
import dlib
import numpy as np

from rollcall.faces.centerface import SCALE, choose_scale, resize_and_pad
from rollcall.faces.centerface_graph import INPUT
from rollcall.faces.dlib_encoder import LANDMARKS
from rollcall.faces.dlib_weights import model_path
from rollcall.faces.encoder_graph import CHIP_PX
from rollcall.faces.onnx_models import detector_model, encoder_model, single_thread_session


class Bare:
    """Opens a video, decodes the first frame, runs the detector once (at `SCALE`), finds landmarks
    and computes one encoding."""

    def __init__(self, cache: Path) -> None:
        self._detector = single_thread_session(detector_model(cache))
        self._landmarks = dlib.shape_predictor(str(model_path(LANDMARKS)))
        self._encoder = single_thread_session(encoder_model(cache))

    def run(self, video: Path) -> None:
        with av.open(str(video), "r") as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
        rgb = np.ascontiguousarray(picture, dtype=np.uint8)
        self._detector.run(None, {INPUT: resize_and_pad(rgb, choose_scale(rgb, SCALE))})
        width, height = rgb.shape[1], rgb.shape[0]
        # Any box will do: landmarks and an encoding cost the same everywhere in the picture.
        middle = dlib.rectangle(width // 3, height // 3, width * 2 // 3, height * 2 // 3)
        chip = dlib.get_face_chip(rgb, self._landmarks(rgb, middle), CHIP_PX, 0.25)
        self._encoder.run(None, {"chips": np.asarray(chip)[None]})
