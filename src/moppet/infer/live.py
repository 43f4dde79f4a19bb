"""Timeline rows of frames as they come, from a camera, a video or a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moppet.infer.catalogue import load_model
from moppet.infer.detect import load_detector
from moppet.infer.reader import FaceReader, ReaderSettings
from moppet.timeline import CausalSmoother, TimelineSettings, live_rows
from moppet.values import Frame


class LiveReader:
    """Reads one frame after another; `moppet.stream` is this over a recording's frames.

    Arguments as of `moppet.stream`. Raises ModelError or UsageError where one cannot be used.
    """

    def __init__(
        self,
        *,
        model: str | Path = "default",
        detector: str = "mtcnn",
        detector_model: str | Path | None = None,
        min_face_px: float | None = None,
        timeline: TimelineSettings | None = None,
    ) -> None:
        self.settings = timeline or TimelineSettings()
        self._reader = FaceReader(
            load_detector(
                detector,
                model_path=None if detector_model is None else Path(detector_model),
                min_face_px=min_face_px,
            ),
            load_model(model),
            ReaderSettings(
                forget_after_s=self.settings.max_gap_s,
                low_quality_below=self.settings.low_quality_below,
            ),
        )
        self._smoother = CausalSmoother(self.settings)

    @property
    def model_name(self) -> str:
        return self._reader.model.name

    @property
    def names(self) -> tuple[str, ...]:
        """The model's classes, in the order of its columns."""
        return self._reader.model.names

    @property
    def group_of(self) -> Mapping[str, str]:
        """Class → group, from the model's card."""
        return self._reader.model.group_of

    def read(self, frame: Frame) -> list[dict[str, Any]]:
        """Return the rows of the next frame, one for each face, or one without.

        Smoothing looks back only. Frames come in order of time.
        """
        raw = self._reader.read([frame], live=True)
        return live_rows(
            raw,
            self._smoother,
            names=self.names,
            group_of=self.group_of,
            settings=self.settings,
        )
