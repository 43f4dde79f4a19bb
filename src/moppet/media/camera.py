"""Read images from a camera."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, cast

import cv2

from moppet.media.clock import StrictClock
from moppet.media.sources import FrameSource, MediaInfo
from moppet.values import Image, MediaError

_MAX_FAILED: Final = 30  # consecutive failures (about a second) before reading stops
_LOGGING: Final[Any] = cv2 if hasattr(cv2, "getLogLevel") else cv2.utils.logging  # from 4.13 on


@contextlib.contextmanager
def _camera(number: int) -> Iterator[Any]:
    level = _LOGGING.getLogLevel()
    _LOGGING.setLogLevel(0)  # silence the warning of OpenCV if there is no camera
    try:
        camera = cv2.VideoCapture(number)
    finally:
        _LOGGING.setLogLevel(level)
    try:
        if not camera.isOpened():
            raise MediaError(
                f"there is no camera {number}, or another program is using it: "
                "connect it, close the other program, or choose another camera."
            )
        yield camera
    finally:
        camera.release()


def camera_frames(number: int) -> FrameSource:
    clock, failures = StrictClock(math.nan), 0
    first_s: float | None = None
    with _camera(number) as camera:
        while failures < _MAX_FAILED:
            good, image = camera.read()
            now_s = time.monotonic()
            first_s = now_s if first_s is None else first_s
            failures = 0 if good else failures + 1
            rgb = partial(cv2.cvtColor, image, cv2.COLOR_BGR2RGB) if good else None
            yield clock.tick(now_s - first_s), cast("Callable[[], Image] | None", rgb)
    raise MediaError(f"camera {number} gives no more images: check its cable.")


def probe_camera(number: int) -> MediaInfo:
    with _camera(number) as camera:
        width = int(camera.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(camera.get(cv2.CAP_PROP_FRAME_HEIGHT))
        rate = float(camera.get(cv2.CAP_PROP_FPS))
    rate = rate if rate > 0 else math.nan
    name = f"camera:{number}"
    return MediaInfo(None, name, "camera", width, height, math.nan, None, "camera", rate)
