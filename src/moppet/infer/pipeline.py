"""Analyze recordings: `analyze` returns a timeline, `stream` yields the rows of each frame."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from moppet.files import as_damaged
from moppet.infer.detectors import load_detector
from moppet.infer.devices import Device
from moppet.infer.expression_model import ExpressionModel, check_reading, load_for
from moppet.infer.face_reader import FaceReader, FoundFaces, ReaderSettings
from moppet.infer.prefetch import Prefetcher
from moppet.infer.priors import Prior, PriorChoice, change_prior, estimate_prior
from moppet.media import MediaInfo, probe, read_frames, recording_sha256
from moppet.timeline import (
    CausalSmoother,
    Journal,
    OptionalColumns,
    RawRow,
    Timeline,
    TimelineSettings,
    build_timeline,
    live_rows,
    read_journal,
    read_state,
)
from moppet.timeline.schema import RECORDING_INFO
from moppet.values import Frame, TimelineError, UsageError

_CHUNK_S: Final = 0.5
_CHUNK_FRAMES: Final = 64
_CHUNK_BYTES: Final = 64_000_000  # three chunks are held at a time: see Analysis.run


@dataclass(frozen=True)
class Settings:
    """The settings of an analysis, stored in the timeline's metadata.

    model: a bundled model's name or a model folder. detector: a name in DETECTORS;
    detector_model: its model file, if it needs one.
    every: analyze only every n-th frame.
    start_s, end_s: part of the recording to analyze; None for its start or end.
    detect_every_frame: search every frame instead of tracking faces between searches.
    min_face_px: smallest face to look for, in pixels (12 to 10,000); None lets the detector choose.
    sequence: a folder of images is a film, in which faces are tracked, not a set of photos.
    prior: how frequent the classes are: "natural" as in the model's card, "uniform", class →
        prevalence, or "estimate" to estimate it from the recording's own faces.
    device: what runs the expression model, as for `load_model`. The detector's small networks run
        on the processor.
    timeline: smoothing, thresholds, episodes, and which reading of the faces decides.
    Raises UsageError for a value out of range.
    """

    model: str = "default"
    detector: str = "mtcnn"
    detector_model: str | None = None
    every: int = 1
    start_s: float | None = None
    end_s: float | None = None
    detect_every_frame: bool = False
    min_face_px: float | None = None
    sequence: bool = False
    prior: PriorChoice = "natural"
    device: Device = "cpu"
    timeline: TimelineSettings = field(default_factory=TimelineSettings)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"every must be at least 1, got {self.every}.")
        if self.min_face_px is not None and not 12 <= self.min_face_px <= 10_000:
            raise UsageError(
                f"min_face_px must be at least 12 and at most 10000, got {self.min_face_px}."
            )
        if not 0 <= (self.start_s or 0.0) < (math.inf if self.end_s is None else self.end_s):
            raise UsageError(
                f"start and end must be 0 or more and in order, got {self.start_s}, {self.end_s}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values; some only if they are not the usual ones."""
        values = {**dataclasses.asdict(self), "timeline": self.timeline.to_dict()}
        unset = {"sequence"} if not self.sequence else set()
        unset |= {"prior"} if self.prior == "natural" else set()
        unset |= {"device"} if self.device == "cpu" else set()
        return {key: value for key, value in values.items() if key not in unset}


@dataclass(frozen=True)
class Progress:
    """The progress of an analysis.

    frames: number of frames done; total: expected number, None if unknown.
    time_s: position in the recording; duration_s: its length, NaN if unknown.
    """

    frames: int
    total: int | None
    time_s: float
    duration_s: float


class Analysis:
    """The analysis of one recording, which can be interrupted and resumed.

    journal: file to which rows are written during the analysis; None keeps them in memory.
    resume: continue from the journal if it exists; source, model and settings must be the same.
    recording_info: text and numbers about the recording, by name, for the timeline's metadata.
    Raises MediaError, ModelError or UsageError if source, model or settings are invalid.
    """

    def __init__(
        self,
        source: str | Path,
        settings: Settings,
        *,
        journal: Path | None = None,
        resume: bool = False,
        recording_info: Mapping[str, str | int | float] | None = None,
    ) -> None:
        self.source = source
        self.settings = settings
        self._recording_info = dict(recording_info or {})
        self.info: MediaInfo = probe(source)
        self._is_photos = self.info.kind == "images" and not settings.sequence
        if self._is_photos:  # one after another, but at no time
            self.info = dataclasses.replace(self.info, duration_s=math.nan)
        self._reader = _face_reader(settings, self.info.kind)
        self.model = self._reader.model
        self._optional = _optional_columns(self.model, settings.timeline)
        self._sha256 = None if self.info.kind == "camera" else recording_sha256(source)
        self._rows: list[RawRow] = []
        self._state: dict[str, Any] | None = None  # of the reader after these rows
        self._clock: dict[str, Any] = {}
        self._complete = False
        self._journal_path = journal
        self._journal: Journal | None = None
        if journal is not None:
            begun = journal.is_file() and journal.stat().st_size > 0
            self._open_journal(journal, resume and begun)

    def _open_journal(self, path: Path, resume: bool) -> None:
        header = {
            "source_sha256": self._sha256,
            "model_sha256": self.model.sha256,
            "settings": self.settings.to_dict(),
        }
        about = self._about() | {"groups": dict(self.model.group_of)}
        self._journal = Journal(
            *(path, self.model.names, header),
            about=about,
            optional=self._optional,
            resume=resume,
        )
        if resume:
            self._rows, self._state = read_journal(path), read_state(path)

    def run(self, progress: Callable[[Progress], None] | None = None) -> Timeline:
        """Analyze the rest of the recording and return the whole timeline.

        After an interruption, call it again to continue.
        """
        start_s, end_s = self.settings.start_s, self.settings.end_s
        if self._journal is None and self._journal_path is not None:
            self._open_journal(self._journal_path, resume=True)
        if self._state is None:  # at the beginning, or after a journal of moppet 0.1
            self._reader.resume(self._rows)
        else:
            odd = f"the unfinished analysis of {self.source} is damaged: start a new one."
            with as_damaged(odd, TimelineError):
                self._reader.restore(self._state)
        rest_s = math.nextafter(self._rows[-1]["time_s"], math.inf) if self._rows else start_s
        frames = read_frames(self.source, every=self.settings.every, start_s=rest_s, end_s=end_s)
        chunks = Prefetcher(_chunks(frames))
        found = Prefetcher(self._find(chunks))
        try:
            for faces, state in found:
                rows = self._reader.classify(faces)
                if self._journal is not None:
                    self._journal.append(rows, state)
                self._rows += rows
                self._state = state
                if progress is not None:
                    done, time_s = rows[-1]["frame"] + 1, rows[-1]["time_s"]
                    progress(Progress(done, self.info.frame_count, time_s, self.info.duration_s))
        finally:
            found.close()
            chunks.close()
            frames.close()
            if self._journal is not None:
                self._journal.close()
                self._journal = None
        if not self._rows:
            what = f"lasts {self.info.duration_s:.1f} s."
            if self._is_photos:
                what = f"has {self.info.frame_count} images, each counted as one second."
            until = "" if end_s is None else f" to {end_s:g} s"
            raise UsageError(
                f"{self.info.name} has no frame from {start_s or 0:g} s{until}: it {what}"
            )
        self._complete = True
        self._clock = frames.clock.to_dict()
        if end_s is None and math.isfinite(frames.clock.end_s) and not self._is_photos:
            # The container's own duration is often missing, or counts from another start.
            self.info = dataclasses.replace(self.info, duration_s=frames.clock.end_s)
        return self.timeline()

    def _find(self, chunks: Iterator[list[Frame]]) -> Iterator[tuple[FoundFaces, dict[str, Any]]]:
        """Yield the faces of each chunk, and the reader's state after it."""
        for chunk in chunks:
            faces = self._reader.find(chunk)
            del chunk  # not held while the next one is awaited
            yield faces, self._reader.state()

    def timeline(self) -> Timeline:
        """Return the timeline of the rows so far; its metadata records whether it is complete.

        A prior is estimated once it is.
        """
        rows, priors = self._rows, _priors(self.model)
        if self.settings.prior == "estimate" and self._complete:
            rows, priors = _with_estimated_prior(rows, self.model, self._optional)
        return build_timeline(
            rows,
            names=self.model.names,
            group_of=self.model.group_of,
            settings=self.settings.timeline,
            optional=self._optional,
            metadata=self._about()
            | priors
            | {
                "settings": self.settings.to_dict(),
                "frame_count": len({row["frame"] for row in self._rows}),
                "analyzed_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "complete": self._complete,
            }
            | self._findings(),
        )

    def _about(self) -> dict[str, Any]:
        """Return the metadata that is known before a frame is read."""
        info = self.info
        about: dict[str, Any] = {
            "moppet_version": importlib.metadata.version("moppet"),
            "model_name": self.model.name,
            "model_sha256": self.model.sha256,
            "detector": self.settings.detector,
            "source_name": info.name,
            "source_sha256": self._sha256,
            "duration_s": info.duration_s,
            "width": info.width,
            "height": info.height,
        }
        return about | ({RECORDING_INFO: self._recording_info} if self._recording_info else {})

    def _findings(self) -> dict[str, Any]:
        """Return what was found about cuts and time stamps, if anything."""
        cuts = [round(time_s, 6) for time_s in (self._state or {}).get("cuts_s", [])]
        found = {"cuts_s": cuts, "clock": self._clock, "files": self.info.files}
        return {key: value for key, value in found.items() if value}


class LiveReader:
    """Analyzes frames one at a time, as `moppet.stream` does for a recording.

    settings: of the analysis; `every`, `start_s` and `end_s` are not used. None takes the defaults,
        and gives both readings if the model has two.
    Raises ModelError or UsageError if the model or detector is invalid.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        takes_all, settings = settings is None, settings or Settings()
        self.settings = settings.timeline
        if settings.prior == "estimate":
            raise UsageError(
                "the prior cannot be estimated while frames arrive: analyze a recording with "
                "prior='estimate', and pass the result."
            )
        self._reader = _face_reader(settings, "camera")
        if takes_all and self._reader.model.has_display:
            self.settings = dataclasses.replace(self.settings, reading="both")
        self._optional = _optional_columns(self._reader.model, self.settings)
        self._smoother = CausalSmoother(self.settings)

    @property
    def model_name(self) -> str:
        """The model's name, from its card."""
        return self._reader.model.name

    @property
    def card(self) -> Mapping[str, Any]:
        """The contents of the model's card."""
        return self._reader.model.card

    @property
    def names(self) -> tuple[str, ...]:
        """The model's classes, in the order of its columns."""
        return self._reader.model.names

    @property
    def group_of(self) -> Mapping[str, str]:
        """Class → group, from the model's card."""
        return self._reader.model.group_of

    def read(self, frame: Frame) -> list[dict[str, Any]]:
        """Return the rows of the next frame: one per face, or a single row without a face.

        Smoothing uses past frames only. Pass frames in order of time.
        """
        return live_rows(
            self._reader.read([frame], live=True),
            self._smoother,
            names=self.names,
            group_of=self.group_of,
            settings=self.settings,
            optional=self._optional,
        )


def analyze(
    path: str | Path,
    *,
    model: str | Path = "default",
    detector: str = "mtcnn",
    every: int = 1,
    progress: Callable[[Progress], None] | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    detect_every_frame: bool = False,
    detector_model: str | Path | None = None,
    min_face_px: float | None = None,
    prior: PriorChoice = "natural",
    device: Device = "cpu",
    timeline: TimelineSettings | None = None,
) -> Timeline:
    """Return the expressions of every face in a recording over time.

    Args:
        path: a video, an image, or a folder of images.
        model: the name of a bundled model, or a model folder.
        detector: face detector: "mtcnn", or another installed detector.
        every: analyze only every n-th frame.
        progress: called regularly with the progress of the analysis.
        start_s: start of the part to analyze, in seconds; None for the beginning.
        end_s: end of the part to analyze, in seconds; None for the end.
        detect_every_frame: search every frame instead of tracking faces between searches.
        detector_model: the detector's model file, if it needs one.
        min_face_px: smallest face to look for, in pixels (at least 12); None lets the detector
            choose.
        prior: how frequent the classes are: "natural" as in the model's card, "uniform", a mapping
            of every class to its prevalence, or "estimate" from the recording's own faces.
        device: what runs the expression model: "cpu", "cuda", "openvino", "coreml" or "auto".
        timeline: smoothing, thresholds, episodes, and which reading of the faces decides.

    Raises:
        MediaError: the recording cannot be read.
        ModelError: the model is missing or damaged.
        UsageError: an argument is out of range.

    Examples:
        >>> import moppet
        >>> timeline = moppet.analyze("examples/child.mp4", end_s=4)
        >>> [(episode.label, episode.start_s) for episode in timeline.episodes("expression")]
        [('neutral', 0.0), ('happiness', 2.0)]
    """
    settings = Settings(
        model=str(model),
        detector=detector,
        detector_model=None if detector_model is None else str(detector_model),
        every=every,
        start_s=start_s,
        end_s=end_s,
        detect_every_frame=detect_every_frame,
        min_face_px=min_face_px,
        prior=prior,
        device=device,
        timeline=timeline or TimelineSettings(),
    )
    return Analysis(path, settings).run(progress)


def stream(
    path_or_camera: str | Path,
    *,
    model: str | Path = "default",
    detector: str = "mtcnn",
    every: int = 1,
    detector_model: str | Path | None = None,
    min_face_px: float | None = None,
    prior: Prior = "natural",
    device: Device = "cpu",
    timeline: TimelineSettings | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the timeline rows of each frame as it arrives: a list of dicts per frame.

    Smoothing uses past frames only, so values differ slightly from those of `analyze`. A face
    that enters the image may be detected up to half a second late.

    Args:
        path_or_camera: a video, or a camera such as "camera:0".
        model: the name of a bundled model, or a model folder.
        detector: face detector: "mtcnn", or another installed detector.
        every: analyze only every n-th frame; the others have the status "skipped".
        detector_model: the detector's model file, if it needs one.
        min_face_px: smallest face to look for, in pixels (at least 12); None lets the detector
            choose.
        prior: how frequent the classes are: "natural" as in the model's card, "uniform", or a
            mapping of every class to its prevalence.
        device: what runs the expression model: "cpu", "cuda", "openvino", "coreml" or "auto".
        timeline: smoothing, thresholds, and which reading of the faces decides.

    Raises:
        MediaError: the video or camera cannot be read.
        ModelError: the model is missing or damaged.
        UsageError: an argument is out of range.

    Examples:
        >>> import moppet
        >>> for rows in moppet.stream("examples/child.mp4"):
        ...     smiling = [row for row in rows if row["expression"] == "happiness"]
        ...     if smiling:
        ...         print(f"face {smiling[0]['face_id']} smiles at {smiling[0]['time_s']:.1f} s")
        ...         break
        face 0 smiles at 2.2 s
    """
    settings = Settings(
        model=str(model),
        detector=detector,
        detector_model=None if detector_model is None else str(detector_model),
        every=every,
        min_face_px=min_face_px,
        prior=prior,
        device=device,
        timeline=timeline or TimelineSettings(),
    )
    reader = LiveReader(settings)
    frames = read_frames(path_or_camera, every=every)

    def rows() -> Iterator[list[dict[str, Any]]]:
        try:
            for frame in frames:
                yield reader.read(frame)
        finally:
            frames.close()

    return rows()


def check_setup(settings: Settings) -> None:
    """Raise UsageError or ModelError if these settings can analyze no recording at all."""
    _optional_columns(_face_reader(settings, "video").model, settings.timeline)


def _face_reader(settings: Settings, kind: str) -> FaceReader:
    model_path = Path(settings.detector_model) if settings.detector_model else None
    min_face_px = settings.min_face_px
    return FaceReader(
        load_detector(settings.detector, model_path=model_path, min_face_px=min_face_px),
        load_for(settings.model, settings.prior, settings.device),
        ReaderSettings(
            detect_every_frame=settings.detect_every_frame,
            unrelated=kind == "images" and not settings.sequence,
            forget_after_s=settings.timeline.max_gap_s,
            low_quality_below=settings.timeline.low_quality_below,
        ),
    )


def _optional_columns(model: ExpressionModel, settings: TimelineSettings) -> OptionalColumns:
    """Return which optional columns an analysis writes; UsageError for a reading that lacks."""
    check_reading(model, settings.reading)
    return OptionalColumns(settings.reading != "observers", model.movement_names)


def _priors(model: ExpressionModel) -> dict[str, Any]:
    """Return the metadata of the priors that a model's probabilities are calibrated for."""
    known = {"prior": model.prior, "display_prior": model.display_prior}
    return {key: dict(prior) for key, prior in known.items() if prior is not None}


def _with_estimated_prior(
    rows: Sequence[RawRow], model: ExpressionModel, optional: OptionalColumns
) -> tuple[list[RawRow], dict[str, Any]]:
    """Return the rows with each reading's prior estimated from its good faces, and these priors.

    Successive frames show much the same, so a face counts for one a second.
    """
    steps = np.diff(sorted({row["time_s"] for row in rows if row["status"] != "skipped"}))
    weight = min(1.0, float(np.median(steps))) if len(steps) else 1.0
    changed: list[dict[str, Any]] = [dict(row) for row in rows]
    old = {"p": model.prior, "d": model.display_prior if optional.display else None}
    found = _priors(model)
    for key, prior in old.items():
        if prior is None:
            continue
        faces = [row for row in changed if row.get(key) is not None]
        good = [row[key] for row in faces if row["status"] == "ok"]
        p = np.array(good, np.float32).reshape(-1, len(model.names))
        new = estimate_prior(p, prior, model.names, weight=weight).prior
        found[{"p": "prior", "d": "display_prior"}[key]] = new
        every = np.array([row[key] for row in faces], np.float32).reshape(-1, len(model.names))
        for row, values in zip(faces, change_prior(every, prior, new, model.names), strict=True):
            row[key] = values
    return cast(list[RawRow], changed), found


def _chunks(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    """Yield frames in chunks of half a second, or less if the images are large."""
    chunk: list[Frame] = []
    size = 0
    for frame in frames:
        chunk.append(frame)
        size += 0 if frame.image is None else frame.image.nbytes
        long = frame.time_s - chunk[0].time_s >= _CHUNK_S
        if long or size >= _CHUNK_BYTES or len(chunk) >= _CHUNK_FRAMES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
