"""The page of an explanation: saliency maps, overlays and shares of face regions."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from moppet.evaluate.saliency import FACE_CENTER_PX, FACE_HALF_PX, region_boxes
from moppet.infer.alignment import CROP_PX, TEMPLATE_PX
from moppet.pages.frame import build_document
from moppet.pages.report_tables import build_table, format_share, section
from moppet.pages.wording import count
from moppet.values import Floats, Image, MoppetError

ZOOM: Final = 3
_GAP_PX: Final = 6
_COVER: Final = 0.8
_SOFT_PX: Final = 2.5


def draw_overlay(crop: Image, saliency: Floats) -> Image:
    """Return a face and, beside it, the same face under its saliency, RGB.

    crop: (CROP_PX, CROP_PX, 3) RGB. saliency: (CROP_PX, CROP_PX), drawn from nothing to its own
    largest value; what speaks against the class is not drawn.
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
    """Return mean saliency on the template, RGB: rings on eyes and mouth, lines around regions.

    mean: (CROP_PX, CROP_PX), 1 where saliency is spread evenly. most: the value drawn brightest.
    No face is in it, so that it can be shown where images of the children cannot.
    """
    side = ZOOM * CROP_PX
    colors = _colors(np.clip(_enlarged(np.nan_to_num(mean), side) / max(most, 1e-12), 0, 1))
    image: Image = np.ascontiguousarray(colors.round().astype(np.uint8))
    _mark(image)
    return image


def brightest(means: Sequence[NDArray[np.float64]]) -> float:
    """Return the value that several means are drawn brightest at: only a hundredth is above it."""
    known = [mean for mean in means if not np.isnan(mean).any()]
    return float(np.quantile(np.stack(known), 0.99)) if known else 1.0


def color_bar(width: int = 256, height: int = 12) -> Image:
    """Return the colors from nothing to the brightest, RGB."""
    row = np.linspace(0, 1, width)
    return np.tile(_colors(row[None]).round().astype(np.uint8), (height, 1, 1))


def as_png(image: Image) -> bytes:
    """Return an RGB image as PNG."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    if not done:
        raise MoppetError("an image could not be written as PNG.")
    return bytes(data.tobytes())


def _enlarged(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Enlarge without the squares of a patch's steps: smoothed by a few pixels, for the eye."""
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


Json = Mapping[str, Any]
_CSS = """
.maps{display:flex;flex-wrap:wrap;gap:1rem}.maps figure{width:168px}
.maps img{display:block;border-radius:8px}
.maps figcaption{font-size:.82rem;line-height:1.3;margin-top:.35rem;color:var(--soft)}
.maps strong{display:block;color:var(--ink);font-weight:600}
.scale{display:flex;flex-wrap:wrap;align-items:center;gap:.6rem;font-size:.82rem;color:var(--soft)}
.scale img{border-radius:4px}
td small{display:block;color:var(--soft);font-size:.8em}
.about+.scale,.about+.scroll{margin-top:1rem}.scale{margin-bottom:1.2rem}
h3{margin:1.4rem 0 .6rem}
"""
LIMITS = (
    "Saliency says which pixels a reading hung on, not why, nor whether the reading is right. "
    "It is a check on the model, never on the child."
)
_METHODS = {
    "grad-cam": "Grad-CAM (Selvaraju et al. 2017)",
    "occlusion": "occlusion by a gray patch (Zeiler & Fergus 2014)",
}


def build_page(explanation: Json, maps: Mapping[str, Path]) -> str:
    """Return the whole page. explanation: that of explanation.json. maps: name → its PNG."""
    model, data = explanation["model"], explanation["data"]
    about = " · ".join(
        (
            f"{count(data['explained'])} of {count(data['pictures'])} images",
            f"a face found in {count(data['faces_found'])}",
            _METHODS[explanation["method"]["name"]],
        )
    )
    body = (
        '<header><p class="kicker">moppet · what a model looks at</p>'
        f"<h1>{escape(model['name'])} on {escape(data['name'])}</h1><p>{escape(about)}</p>"
        f'<p class="limits">{LIMITS}</p></header><main>'
        + _figures(explanation)
        + _maps(explanation, maps)
        + _table(explanation)
        + _made(explanation)
        + _notes(explanation)
        + "</main>"
    )
    title = f"{model['name']} on {data['name']} · moppet explanation"
    return build_document(title, body, css=_CSS, pictures=True)


def _figures(explanation: Json) -> str:
    areas = explanation["template"]["areas"]
    cards = []
    for region, share in explanation["parts"][0]["shares"].items():
        limits = "" if share["low"] is None else f"{_range(share)}; "
        note = f"{limits}{format_share(areas[region])} if spread evenly"
        value = format_share(share["value"])
        cards.append(
            f"<div><dt>{escape(region)}</dt><dd><strong>{value}</strong>"
            f"<span>{note}</span></dd></div>"
        )
    return section("figures", "Where it looks", f'<dl class="cards">{"".join(cards)}</dl>')


def _maps(explanation: Json, maps: Mapping[str, Path]) -> str:
    most = explanation["brightest"]
    bar = _image(as_png(color_bar()), 256, 12, "colour scale")
    scale = f"{most:.1f} times what an even spread would give, and more"
    body = (
        '<p class="about">Mean saliency on the template that every face is aligned to: rings on '
        "the eyes, dots on the nose and the corners of the mouth, thin lines around the regions. "
        "Each face counts alike. No face is in these images.</p>"
        f'<p class="scale">none {bar} {scale}</p>'
    )
    by_class: dict[str | None, list[str]] = {}
    for part in explanation["parts"]:
        image = _image(maps[part["map"]].read_bytes(), 168, 168, f"mean saliency, {_title(part)}")
        n = part["n"] - part["undefined"]
        words = escape(part["age_band"] or "all ages")
        by_class.setdefault(part["class"], []).append(
            f"<figure>{image}<figcaption><strong>{words}</strong>n = {count(n)}</figcaption>"
            "</figure>"
        )
    for name, figures in by_class.items():
        heading = "All classes" if name is None else escape(name)
        if len(by_class) > 1:
            body += f"<h3>{heading}</h3>"
        body += f'<div class="maps">{"".join(figures)}</div>'
    return section("maps", "Mean maps", body)


def _image(png: bytes, width: int, height: int, label: str) -> str:
    uri = base64.b64encode(png).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{uri}" width="{width}" height="{height}" '
        f'alt="{escape(label)}">'
    )


def _title(part: Json) -> str:
    return ", ".join(word for word in (part["class"], part["age_band"]) if word) or "all"


def _range(share: Json) -> str:
    low, high = (f"{100 * share[end]:.0f}" for end in ("low", "high"))
    return f"{low} to {high}\N{NO-BREAK SPACE}%"


def _table(explanation: Json) -> str:
    areas = explanation["template"]["areas"]
    rows = [["if spread evenly", "", *(format_share(area) for area in areas.values())]]
    for part in explanation["parts"]:
        cells = []
        for share in part["shares"].values():
            limits = "" if share["low"] is None else f"<small>{_range(share)}</small>"
            cells.append(f"{format_share(share['value'])}{limits}")
        n = count(part["n"] - part["undefined"])
        rows.append([escape(_title(part)), n, *cells])
    about = (
        '<p class="about">Share of the saliency in each region with its 95 % interval, by draws '
        "of whole groups (a subject, the copies of an image). A region matters to the model "
        "where its share lies above what an even spread gives it.</p>"
    )
    table = build_table("Aligned faces only", ["faces", "n", *areas], rows)
    return section("shares", "In numbers", about + table)


def _made(explanation: Json) -> str:
    how = explanation["method"]
    facts = {
        "Model": explanation["model"]["name"],
        "Model's SHA-256": explanation["model"]["sha256"],
        "Data": explanation["data"]["path"],
        "Rows": "every row" if (split := explanation["data"]["split"]) == "all" else split,
        "Explained": {"predicted": "the class that the model read", "label": "the label"}.get(
            explanation["of"], explanation["of"]
        ),
        "Method": how["name"],
        "Layer": how.get("layer"),
        "Places": " × ".join(str(n) for n in how.get("grid", ())),
        "Averaged with the mirror image": {True: "yes", False: "no"}.get(how.get("mirrored")),
        "Patch": f"{how['patch_px']} pixels of 112, in steps of {how['stride_px']}"
        if "patch_px" in how
        else None,
        "moppet": explanation["moppet_version"],
        "Made": explanation["made_at"],
    }
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(text))}</dd></div>"
        for name, text in facts.items()
        if text
    )
    command = escape(explanation["command"])
    body = (
        f'<p>To make this again:</p><pre tabindex="0"><code>{command}</code></pre>'
        f'<dl class="facts">{items}</dl>'
    )
    return section("made", "How it was made", body)


def _notes(explanation: Json) -> str:
    notes = [
        (
            "Regions",
            "are boxes around the template's landmarks (eyes with the brows), an ellipse for the "
            "rest of the face, and what is left. Hair, ears and the neck are background.",
        ),
        (
            "Faces that were not found",
            "are left out of means and shares: they are not aligned to the template.",
        ),
    ]
    if explanation["method"]["name"] == "grad-cam":
        notes.append(
            (
                "Grad-CAM",
                "is as coarse as the network's maps, and shows where evidence was gathered rather "
                "than which pixel it came from. Where it and occlusion differ, occlusion is "
                "nearer to what the model does.",
            )
        )
    else:
        notes.append(
            (
                "Occlusion",
                "measures what one covered place costs. Where two places say the same (both "
                "eyes), covering one costs little: such a place can matter and look dark.",
            )
        )
    body = "".join(f"<p><strong>{term}</strong> {text}</p>" for term, text in notes)
    return section("notes", "Notes on the method", f'<div class="notes">{body}</div>')
