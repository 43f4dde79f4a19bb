"""Hide the faces of a recording for a talk: blurred or covered, with a check of the result."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.infer.detectors import find_faces
from moppet.media import read_frames
from moppet.media.encoding import join_videos, write_frames
from moppet.palette import EXPRESSION_COLORS, LIGHT
from moppet.timeline import Timeline
from moppet.timeline.schema import flags, numbers, rows_of_faces, texts
from moppet.values import Image, UsageError

How = Literal["blur", "cover"]
HOWS: Final = ("blur", "cover")
_TICKS: Final = 90_000
_GAP_S: Final = 2.0
"""A face that is lost for at most this long is hidden on the way between both places."""
_HOLD_S: Final = 1.0
"""Before a face is found and after it is lost, it is hidden where it was for this long."""
_MARGIN: Final = 0.3
_WIDE: Final = 0.7
"""Margins around a box, in its size; the second where the face is unsure, lost or blurred."""
_BLOCKS: Final = 5
_FRAME_BLOCKS: Final = 12
"""Blocks across a hidden face, and across the shorter side of a hidden frame."""
_COVER: Final = (128, 128, 128)
_SEEN_SCORE: Final = 0.9
_SLACK_S: Final = 1e-4


class Region(NamedTuple):
    """A face to hide: x, y, width, height in pixels, margins included; and what it shows.

    label: "" where the face was not found and its place is guessed.
    """

    box: tuple[float, float, float, float]
    label: str


@dataclass(frozen=True)
class Hidden:
    """What was hidden. frames: all; whole: hidden as a whole. checked: of the result; seen: those
    in which a face was found.
    """

    frames: int
    whole: int
    checked: int
    seen: tuple[float, ...]


class FaceRegions:
    """Where the faces of a timeline are at any time, with some care.

    timeline: with people named, so that one person is one face.
    """

    def __init__(self, timeline: Timeline) -> None:
        table = timeline.table
        time_s, face = numbers(table, "time_s"), numbers(table, "face_id")
        boxes = np.column_stack([numbers(table, f"box_{side}") for side in "xywh"])
        status, score = texts(table, "status"), numbers(table, "detection_score")
        unsure = flags(table, "unsure") | (np.nan_to_num(score, nan=1.0) < _SEEN_SCORE)
        weak = unsure | np.array([word != "ok" for word in status], np.bool_)
        face = np.where(np.isnan(boxes).any(axis=1), np.nan, face)
        label = texts(table, "expression")
        self._tracks = [
            (time_s[rows], boxes[rows], weak[rows], np.where(unsure[rows], "unsure", label[rows]))
            for rows in rows_of_faces(face, time_s).values()
        ]

    def at(self, time_s: float) -> list[Region] | None:
        """Return the faces to hide at a time; None where the whole frame has to be.

        That is where nobody was found, or a face is lost for longer than it can be guessed.
        """
        found: list[Region] = []
        for times, boxes, weak, labels in self._tracks:
            place = int(np.searchsorted(times, time_s - _SLACK_S))
            before = place - 1
            if place < len(times) and abs(times[place] - time_s) <= _SLACK_S:
                label = str(labels[place] or "unsure")
                found.append(Region(_wider(boxes[place], bool(weak[place])), label))
            elif before >= 0 and place < len(times) and times[place] - times[before] <= _GAP_S:
                part = (time_s - times[before]) / (times[place] - times[before])
                box = boxes[before] + part * (boxes[place] - boxes[before])
                found.append(Region(_wider(box, True), ""))
            elif before >= 0 and time_s - times[before] <= _HOLD_S:
                found.append(Region(_wider(boxes[before], True), ""))
            elif place < len(times) and times[place] - time_s <= _HOLD_S:
                found.append(Region(_wider(boxes[place], True), ""))
            elif before >= 0 and place < len(times):
                return None
        return found or None


def _wider(box: NDArray[np.float64], weak: bool) -> tuple[float, float, float, float]:
    x, y, width, height = box.tolist()
    margin = _WIDE if weak else _MARGIN
    return (
        x - margin * width,
        y - margin * height,
        width * (1 + 2 * margin),
        height * (1 + 2 * margin),
    )


def hide_faces(image: Image, regions: Sequence[Region] | None, how: How) -> Image:
    """Return a copy of an image with these regions hidden; all of it for None.

    image: (height, width, 3), RGB, uint8.
    """
    height, width = image.shape[:2]
    hidden = image.copy()
    if regions is None:
        _hide(hidden, (0, 0, width, height), how, _FRAME_BLOCKS)
        return hidden
    for region in regions:
        x, y, w, h = region.box
        left, top = max(0, math.floor(x)), max(0, math.floor(y))
        right, bottom = min(width, math.ceil(x + w)), min(height, math.ceil(y + h))
        if right > left and bottom > top:
            _hide(hidden, (left, top, right, bottom), how, _BLOCKS)
    return hidden


def _hide(image: Image, edges: tuple[int, int, int, int], how: How, blocks: int) -> None:
    left, top, right, bottom = edges
    if how == "cover":
        image[top:bottom, left:right] = _COVER
        return
    part = image[top:bottom, left:right]
    scale = blocks / min(part.shape[:2])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    image[top:bottom, left:right] = cv2.GaussianBlur(large, (0, 0), 0.5 / scale)


def blur_recording(
    recording: Path,
    timeline: Timeline,
    output: Path,
    *,
    how: How = "blur",
    overlay: bool = False,
    sound: bool = False,
    check_every: int = 5,
    progress: Callable[[int], None] | None = None,
) -> Hidden:
    """Write a video in which the faces of a timeline are hidden; return what was.

    overlay: write the expression of each face above it. sound: keep it. check_every: frames; one
    in so many is searched for faces before it is written, and its neighbors are hidden as a whole
    if there is one. The written video is then searched once more.
    Raises UsageError for photos, MediaError if the recording cannot be read.
    """
    if timeline.photos:
        raise UsageError("blur hides the faces of a video, but this is a set of photos.")
    regions = FaceRegions(timeline)
    counts = {"frames": 0, "whole": 0}

    def hidden() -> Iterator[tuple[int, Image]]:
        last = -1
        with closing(read_frames(recording)) as frames:
            for block in _blocks(frames, check_every):
                for time_s, image in _hidden_block(block, regions, how, overlay, counts):
                    tick = max(last + 1, round(time_s * _TICKS))
                    last = tick
                    counts["frames"] += 1
                    if progress is not None:
                        progress(counts["frames"])
                    yield tick, _even(image)

    with tempfile.TemporaryDirectory(prefix="moppet-") as folder:
        part = Path(folder) / "part.nut"
        write_frames(part, hidden(), _TICKS)
        join_videos([part], output, _TICKS, sound=recording if sound else None)
    checked, seen = check_hidden(output, check_every)
    return Hidden(counts["frames"], counts["whole"], checked, seen)


def _blocks(frames: Any, size: int) -> Iterator[list[tuple[float, Image]]]:
    """Yield the readable frames in blocks of this size."""
    block: list[tuple[float, Image]] = []
    for frame in frames:
        if frame.image is not None:
            block.append((frame.time_s, frame.image))
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _hidden_block(
    block: Sequence[tuple[float, Image]],
    regions: FaceRegions,
    how: How,
    overlay: bool,
    counts: dict[str, int],
) -> Iterator[tuple[float, Image]]:
    """Yield the frames of a block with their faces hidden; as a whole if one still shows a face."""
    places = [regions.at(time_s) for time_s, _ in block]
    images = [
        hide_faces(image, place, how) for (_, image), place in zip(block, places, strict=True)
    ]
    middle = len(block) // 2
    if places[middle] is not None and shows_face(images[middle]):
        places = [None] * len(block)
        images = [hide_faces(image, None, how) for _, image in block]
    for (time_s, _), place, image in zip(block, places, images, strict=True):
        counts["whole"] += place is None
        if overlay:
            draw_labels(image, place or ())
        yield time_s, image


def shows_face(image: Image) -> bool:
    """Return whether the detector is sure of a face in an image."""
    return any(face.score >= _SEEN_SCORE for face in find_faces(image))


def check_hidden(video: Path, every: int) -> tuple[int, tuple[float, ...]]:
    """Return how many frames of a video were searched, and the times of those with a face."""
    checked, seen = 0, []
    with closing(read_frames(video, every=every)) as frames:
        for frame in frames:
            if frame.image is not None:
                checked += 1
                if shows_face(frame.image):
                    seen.append(frame.time_s)
    return checked, tuple(seen)


def draw_labels(image: Image, regions: Sequence[Region]) -> None:
    """Draw the label of each region above it, or inside where there is no room."""
    size = max(0.5, image.shape[0] / 900)
    for region in (one for one in regions if one.label):
        color = EXPRESSION_COLORS.get(region.label, LIGHT["gray"])
        rgb = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
        (width, height), _ = cv2.getTextSize(region.label, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
        x = int(np.clip(region.box[0], 0, max(0, image.shape[1] - width - 12)))
        y = int(max(region.box[1], height + 12))
        cv2.rectangle(image, (x, y - height - 12), (x + width + 12, y), rgb, -1)
        place = (x + 6, y - 6)
        cv2.putText(
            *(image, region.label, place, cv2.FONT_HERSHEY_SIMPLEX, size),
            *((255, 255, 255), 1, cv2.LINE_AA),
        )


def _even(image: Image) -> Image:
    """Return an image of even size, as H.264 needs it: an odd last row or column is dropped."""
    height, width = (max(2, side - side % 2) for side in image.shape[:2])
    if image.shape[0] < 2 or image.shape[1] < 2:
        image = np.repeat(np.repeat(image, 2, axis=0), 2, axis=1)
    return np.ascontiguousarray(image[:height, :width])
