"""Small face images for pages, made only when asked for."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc

from moppet.datasets.faces import find_manifest_faces
from moppet.datasets.manifest import Manifest
from moppet.media import read_frames
from moppet.timeline import Episode, Timeline
from moppet.values import Image

SIDE_PX = 96
MARGIN = 0.15
"""Added around the face's box on every side, as a part of its size."""

BLOCKS = 7
"""A blurred face keeps this many blocks of color across: too few to recognize anybody."""

TIME_SLACK_S = 1e-3
MOST_PHOTO_FACES = 300
"""Each takes about 3 kB of a report."""


@dataclass(frozen=True)
class Thumbnail:
    """A small image of a face. data_uri: a JPEG as data:image/jpeg;base64,…"""

    face_id: int
    time_s: float
    label: str
    data_uri: str
    blurred: bool


def choose_episodes(episodes: Sequence[Episode], count: int) -> list[Episode]:
    """Return up to count episodes of expressions, as many different ones as there are.

    Each face and expression contributes in turn, the most certain first; in order of time.
    """
    turns: dict[tuple[int, str], int] = {}
    ranked: list[tuple[int, int, Episode]] = []
    for episode in sorted(episodes, key=lambda e: -e.mean_probability):
        if episode.kind == "expression":
            key = (episode.face_id, episode.label)
            turns[key] = turns.get(key, -1) + 1
            ranked.append((turns[key], len(ranked), episode))
    chosen = [episode for _, _, episode in sorted(ranked, key=lambda r: r[:2])[:count]]
    return sorted(chosen, key=lambda e: (e.peak_s, e.face_id))


def read_thumbnails(
    video_path: str | Path, timeline: Timeline, *, blur: bool, count: int = 8
) -> list[Thumbnail]:
    """Return up to count small faces at the peaks of episodes, in order of time.

    blur: reduce each face to a few blocks of color, so that nobody can be recognized.
    Of photos, return the first MOST_PHOTO_FACES faces.
    Raises MediaError if the recording cannot be read. Reads it up to the last peak.
    """
    if timeline.photos:
        rows = timeline.table.filter(pc.is_valid(timeline.table.column("face_id")))
        chosen = rows.slice(0, MOST_PHOTO_FACES).to_pylist()
    else:
        found = (_peak_row(timeline, e) for e in choose_episodes(timeline.episodes(), count))
        chosen = [row for row in found if row is not None]
    wanted: dict[int, list[dict[str, Any]]] = {}
    for row in chosen:
        if None not in _box(row):
            wanted.setdefault(row["frame"], []).append(row)
    thumbnails: list[Thumbnail] = []
    if not wanted:
        return thumbnails
    times = [row["time_s"] for rows in wanted.values() for row in rows]
    frames = read_frames(video_path, start_s=max(0.0, min(times) - 1), end_s=max(times) + 1)
    with closing(frames):
        for frame in frames:
            for row in wanted.pop(frame.index, []):
                if frame.image is not None:
                    thumbnails.append(_make(frame.image, row, blur))
            if not wanted:
                break
    return thumbnails


def _peak_row(timeline: Timeline, episode: Episode) -> dict[str, Any] | None:
    """Return the row of an episode's peak, with the episode's label."""
    table = timeline.table
    near = pc.less(pc.abs(pc.subtract(table.column("time_s"), episode.peak_s)), TIME_SLACK_S)
    rows = table.filter(pc.and_(near, pc.equal(table.column("face_id"), episode.face_id)))
    if not rows.num_rows:
        return None
    row: dict[str, Any] = rows.slice(0, 1).to_pylist()[0]
    return row | {"expression": episode.label, "time_s": episode.peak_s}


def _box(row: Mapping[str, Any]) -> list[Any]:
    return [row[f"box_{side}"] for side in "xywh"]


def _make(image: Image, row: Mapping[str, Any], blur: bool) -> Thumbnail:
    face = _crop(image, _box(row))
    if blur:
        small = cv2.resize(face, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
        large = cv2.resize(small, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_NEAREST)
        face = np.asarray(cv2.GaussianBlur(large, (0, 0), SIDE_PX / BLOCKS / 2), dtype=np.uint8)
    label = row["expression"] or "no reading"
    return Thumbnail(row["face_id"], row["time_s"], label, _jpeg(face, 80), blur)


def _jpeg(image: Image, quality: int) -> str:
    """Return an RGB image as a data: URI of a JPEG."""
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV always has JPEG"
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _crop(image: Image, box: Sequence[float]) -> Image:
    """Return the square around a box as SIDE_PX pixels, gray where it reaches over the edge."""
    x, y, width, height = box
    side = max(1, round(max(width, height) * (1 + 2 * MARGIN)))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    if side > 2 * max(image.shape[:2]):
        return _crop_small(image, left, top, side)
    square = np.full((side, side, 3), 128, dtype=np.uint8)
    seen = image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    y0, x0 = max(0, -top), max(0, -left)
    square[y0 : y0 + seen.shape[0], x0 : x0 + seen.shape[1]] = seen
    small = cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _crop_small(image: Image, left: int, top: int, side: int) -> Image:
    """Return what `_crop` does, for a box much larger than the image: it is never drawn whole."""
    small = np.full((SIDE_PX, SIDE_PX, 3), 128, dtype=np.uint8)
    seen = image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
    if not seen.size:
        return small
    scale = SIDE_PX / side
    height, width = (min(SIDE_PX, max(1, round(n * scale))) for n in seen.shape[:2])
    y, x = (min(SIDE_PX - 1, int(max(0, -n) * scale)) for n in (top, left))
    height, width = min(height, SIDE_PX - y), min(width, SIDE_PX - x)
    part = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA)
    small[y : y + height, x : x + width] = part
    return small


def face_uris(manifest: Manifest, rows: Sequence[int]) -> dict[int, str]:
    """Return the rows' faces as the model saw them, as data: URIs of JPEGs, by row."""
    if not rows:
        return {}
    crops = find_manifest_faces(manifest.select(rows)).aligned(size=SIDE_PX)
    return {row: _jpeg(crop, 85) for row, crop in zip(rows, crops, strict=True)}
