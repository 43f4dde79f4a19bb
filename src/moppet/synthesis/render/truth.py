"""The truth of a rendered image as columns of a table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moppet.files import replacing
from moppet.synthesis.render.mesh import View
from moppet.synthesis.render.scene import (
    CHANNELS,
    Background,
    Camera,
    HeadPose,
    Light,
    Occluder,
    Person,
    Scene,
)
from moppet.values import Floats, Image

_PARTS: Final[Mapping[str, Any]] = {
    "person": Person,
    "pose": HeadPose,
    "light": Light,
    "background": Background,
    "camera": Camera,
}
_OCCLUDER: Final = tuple(field.name for field in dataclasses.fields(Occluder))
SCENE_COLUMNS: Final = (
    *(
        f"{part}_{field.name}"
        for part, kind in _PARTS.items()
        for field in dataclasses.fields(kind)
    ),
    *(f"occluder_{name}" for name in _OCCLUDER),
    *(f"m_{channel}" for channel in CHANNELS),
)
"""Columns of a scene: its parts, one occluder, and every facial movement."""
BOX_COLUMNS: Final = ("box_x", "box_y", "box_w", "box_h")
POINTS: Final = ("left_eye", "right_eye", "nose_tip", "mouth_left", "mouth_right")
"""Points whose place is in the truth, in pixels. Left and right are the person's own."""
POINT_COLUMNS: Final = tuple(f"{name}_{axis}" for name in POINTS for axis in "xy")
VISIBLE_COLUMNS: Final = ("visible_left_eye", "visible_right_eye", "visible_mouth")
"""How much of each no occluder hides, 0 to 1."""
FACE_COLUMNS: Final = (*BOX_COLUMNS, *POINT_COLUMNS, *VISIBLE_COLUMNS)


Points = Mapping[str, tuple[float, float]]
Box = tuple[float, float, float, float]


class Rendered(NamedTuple):
    """A rendered image and where the face is in it.

    image: (height, width, 3), RGB, uint8. points_px: name → x, y. box_px: x, y, width and height
        of a box around the face, from the chin to the hairline; it may reach over the edge.
    visible: left_eye, right_eye, mouth → how much of it no occluder hides, 0 to 1.
    """

    image: Image
    points_px: Points
    box_px: Box
    visible: Mapping[str, float]


def scene_columns(scene: Scene) -> dict[str, Any]:
    """Return column → value of a scene: numbers, texts, lists of numbers; None for no occluder.

    A mapping, such as the person's shape, is a text in JSON. Channels at rest are 0.
    """
    found: dict[str, Any] = {}
    for part in _PARTS:
        found |= {
            f"{part}_{name}": _plain(value) for name, value in vars(getattr(scene, part)).items()
        }
    first = scene.occluders[0] if scene.occluders else None
    found |= {f"occluder_{name}": _plain(getattr(first, name, None)) for name in _OCCLUDER}
    found |= {f"m_{channel}": scene.movements.get(channel, 0.0) for channel in CHANNELS}
    return found


def face_columns(points_px: Points, box_px: Box, visible: Mapping[str, float]) -> dict[str, float]:
    """Return column → value of where the face is, in pixels, and of what is seen of it.

    Unknown points and regions outside the image are left out.
    """
    found = dict(zip(BOX_COLUMNS, box_px, strict=True))
    for name in POINTS:
        if name in points_px:
            found[f"{name}_x"], found[f"{name}_y"] = points_px[name]
    for name, share in visible.items():
        if not math.isnan(share):
            found[f"visible_{name}"] = share
    return {name: round(float(value), 2) for name, value in found.items()}


def project(point: Floats, view: View, width: int, height: int) -> tuple[float, float]:
    """Return where the view shows a point, in pixels of the image: x and y."""
    forward = view.target - view.eye
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, view.up)
    right = right / np.linalg.norm(right)
    from_eye = point - view.eye
    scale = height / 2 / math.tan(math.radians(view.fov_degrees / 2))
    scale /= max(1e-6, float(from_eye @ forward))
    return (
        width / 2 + scale * float(from_eye @ right),
        height / 2 - scale * float(from_eye @ np.cross(right, forward)),
    )


def face_box(points_px: Points) -> Box:
    """Return x, y, width, height of an upright box around a face with these points.

    It is as a detector draws it: the eyes, the mouth and the chin, with the forehead above.
    """
    points = np.array([points_px[name] for name in (*POINTS, "chin", "head_top")])
    eyes, mouth = points[:2].mean(axis=0), points[3:5].mean(axis=0)
    chin, top = points[5], points[6]
    hairline = chin + 0.8 * (top - chin)
    middle = (chin + hairline) / 2 * 0.5 + (eyes + mouth) / 2 * 0.5
    height = float(np.linalg.norm(hairline - chin))
    half = np.array([0.39, 0.5]) * height
    down = (chin - hairline) / max(height, 1e-6)
    half = np.abs(down[1]) * half + np.abs(down[0]) * half[::-1]
    x, y = (middle - half).tolist()
    return x, y, float(2 * half[0]), float(2 * half[1])


def write_truth(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table of truth as Parquet; of no rows, it has the column `frame` alone.

    Numbers have single precision and four decimals, except times: millions of rows stay small.
    """
    table = pa.Table.from_pylist(rows) if rows else pa.table({"frame": pa.array([], pa.int64())})
    table = pa.table({name: _compact(name, table.column(name)) for name in table.column_names})
    numbers = [field.name for field in table.schema if pa.types.is_float32(field.type)]
    others = [name for name in table.column_names if name not in numbers]
    with replacing(path) as part:
        pq.write_table(
            table,
            part,
            compression="zstd",
            compression_level=15,
            use_dictionary=others,
            use_byte_stream_split=numbers,
        )


def _compact(name: str, column: Any) -> Any:
    if pa.types.is_floating(column.type) and name != "time_s":
        return pc.round(column, 4).cast(pa.float32())
    if pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
        return column.cast(pa.list_(pa.float32()))
    return column


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return json.dumps(dict(sorted(value.items())))
    return list(value) if isinstance(value, tuple) else value
