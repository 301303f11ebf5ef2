"""The library calls that no recognition of a face can do without, and nothing around them."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import dlib
import numpy as np

from rollcall.adapters.faces.dlib_weights import model_path
from rollcall.adapters.faces.encoder_graph import CHIP_PX
from rollcall.adapters.faces.onnx_faces import LANDMARKS
from rollcall.adapters.faces.onnx_models import encoder_model, single_thread_session


class Bare:
    """Open, first frame, one small detection, landmarks, one encoding."""

    def __init__(self, cache: Path) -> None:
        self._detector = dlib.get_frontal_face_detector()
        self._landmarks = dlib.shape_predictor(str(model_path(LANDMARKS)))
        self._encoder = single_thread_session(encoder_model(cache))

    def run(self, video: Path) -> None:
        with av.open(str(video), "r") as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
        rgb = np.ascontiguousarray(picture, dtype=np.uint8)
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        width_px, height_px = 640, round(640 * grey.shape[0] / grey.shape[1])
        self._detector(cv2.resize(grey, (width_px, height_px), interpolation=cv2.INTER_AREA), 0)
        width, height = rgb.shape[1], rgb.shape[0]
        middle = dlib.rectangle(width // 3, height // 3, width * 2 // 3, height * 2 // 3)
        chip = dlib.get_face_chip(rgb, self._landmarks(rgb, middle), CHIP_PX, 0.25)
        self._encoder.run(None, {"chips": np.asarray(chip)[None]})
