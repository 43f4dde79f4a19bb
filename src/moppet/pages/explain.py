"""The page of an explanation: saliency maps, overlays and shares of face regions."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.evaluate.saliency import FACE_CENTER_PX, FACE_HALF_PX, region_boxes
from moppet.evaluate.saved_results import current_results
from moppet.infer.alignment import CROP_PX, TEMPLATE_PX
from moppet.pages.document import render_document
from moppet.pages.html_tables import Cell, Row, Table
from moppet.pages.wording import Json, count, format_share
from moppet.values import Floats, Image, MoppetError

ZOOM: Final = 3
_GAP_PX: Final = 6
_COVER: Final = 0.8
_SOFT_PX: Final = 2.5


def draw_overlay(crop: Image, saliency: Floats) -> Image:
    """Return a face and, beside it, the same face under its saliency, RGB.

    crop: (CROP_PX, CROP_PX, 3) RGB. saliency: (CROP_PX, CROP_PX), drawn from nothing to its own
    largest value; evidence against the class is not drawn.
    """
    side = ZOOM * CROP_PX
    face = np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
    strength = _enlarged(np.maximum(saliency, 0).astype(np.float64), side)
    strength /= max(float(strength.max()), 1e-12)
    cover = _COVER * np.sqrt(strength)[:, :, None]
    over = face * (1 - cover) + _colors(strength) * cover
    gap = np.full((side, _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([face, gap, over.round().astype(np.uint8)], axis=1)


def draw_mean(mean: NDArray[np.float64], most: float) -> Image:
    """Return mean saliency on the template, RGB: circles on the eyes, lines around regions.

    mean: (CROP_PX, CROP_PX), 1 where saliency is spread evenly. most: the value drawn brightest.
    It contains no face, so it can be shown where images of the children cannot.
    """
    side = ZOOM * CROP_PX
    colors = _colors(np.clip(_enlarged(np.nan_to_num(mean), side) / max(most, 1e-12), 0, 1))
    image: Image = np.ascontiguousarray(colors.round().astype(np.uint8))
    _mark(image)
    return image


def brightest(means: Sequence[NDArray[np.float64]]) -> float:
    """Return the value at which means are drawn brightest: their 99 % quantile."""
    known = [mean for mean in means if not np.isnan(mean).any()]
    return float(np.quantile(np.stack(known), 0.99)) if known else 1.0


def color_bar(width: int = 256, height: int = 12) -> Image:
    """Return the color scale from nothing to the brightest, RGB."""
    row = np.linspace(0, 1, width)
    return np.tile(_colors(row[None]).round().astype(np.uint8), (height, 1, 1))


def as_png(image: Image) -> bytes:
    """Return an RGB image as PNG."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    if not done:
        raise MoppetError("an image could not be written as PNG.")
    return bytes(data.tobytes())


def _enlarged(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Enlarge, smoothed by a few pixels so that the steps of a patch do not show."""
    soft = cv2.GaussianBlur(values, (0, 0), _SOFT_PX)
    return np.asarray(cv2.resize(soft, (side, side), interpolation=cv2.INTER_LINEAR), np.float64)


def _colors(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (…, 3) RGB of values from 0 to 1: black to yellow, growing steadily in lightness."""
    levels = np.round(strength * 255).astype(np.uint8)
    colored: Any = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    return np.asarray(colored[:, :, ::-1], np.float64)


def _mark(image: Image) -> None:
    def point(x: float, y: float) -> tuple[int, int]:
        return round((x + 0.5) * ZOOM), round((y + 0.5) * ZOOM)

    gray, white = (150, 150, 150), (255, 255, 255)
    for left, top, right, bottom in region_boxes().values():
        cv2.rectangle(image, point(left, top), point(right, bottom), gray, 1, cv2.LINE_AA)
    axes = round(FACE_HALF_PX[0] * ZOOM), round(FACE_HALF_PX[1] * ZOOM)
    cv2.ellipse(image, point(*FACE_CENTER_PX), axes, 0, 0, 360, gray, 1, cv2.LINE_AA)
    left_eye, right_eye, nose, left_mouth, right_mouth = TEMPLATE_PX.astype(float).tolist()
    for eye in (left_eye, right_eye):
        cv2.circle(image, point(*eye), 4 * ZOOM, white, 1, cv2.LINE_AA)
    cv2.circle(image, point(*nose), ZOOM, white, 1, cv2.LINE_AA)
    cv2.line(image, point(*left_mouth), point(*right_mouth), white, 1, cv2.LINE_AA)
    for corner in (left_mouth, right_mouth):
        cv2.circle(image, point(*corner), ZOOM, white, 1, cv2.LINE_AA)


def build_page(explanation: Json, maps: Mapping[str, Path]) -> str:
    """Return the whole page. explanation: that of explanation.json. maps: name → its PNG."""
    explanation = current_results(explanation)
    model, data = explanation["model"], explanation["data"]
    heading = f"{model['name']} on {data['name']}"
    classes: dict[str | None, list[Json]] = {}
    for part in explanation["parts"]:
        uri = _uri(maps[part["map"]].read_bytes())
        drawn = {**part, "uri": uri, "title": _title(part), "n": part["n"] - part["undefined"]}
        classes.setdefault(part["class"], []).append(drawn)
    return render_document(
        "explanation",
        f"{heading} · moppet explanation",
        css=("explanation.css",),
        images=True,
        found=explanation,
        heading=heading,
        bar=_uri(as_png(color_bar())),
        classes=list(classes.items()),
        shares=_shares(explanation),
        range_of=_range,
    )


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _title(part: Json) -> str:
    return ", ".join(word for word in (part["class"], part["age_band"]) if word) or "all"


def _range(share: Json) -> str:
    if share["low"] is None:
        return ""
    low, high = (f"{100 * share[end]:.0f}" for end in ("low", "high"))
    return f"{low} to {high}\N{NO-BREAK SPACE}%"


def _shares(explanation: Json) -> Table:
    areas = explanation["template"]["areas"]
    rows: list[Row] = [["if spread evenly", "", *(format_share(area) for area in areas.values())]]
    for part in explanation["parts"]:
        cells = [
            Cell(format_share(share["value"]), tuple(filter(None, [_range(share)])))
            for share in part["shares"].values()
        ]
        rows.append([_title(part), count(part["n"] - part["undefined"]), *cells])
    return Table("Aligned faces only", ["faces", "n", *areas], rows)
