"""An image with samples of the rows that balancing added, with their parents, and removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from moppet.files import replacing
from moppet.values import Image

if TYPE_CHECKING:
    from moppet.balance.balanced_manifest import BalancedRows
    from moppet.balance.resampling import ClassCount


SUFFIXES: Final = (".png",)
TILE_PX: Final = 92
_GAP_PX: Final = 6
_APART_PX: Final = 30
_MARGIN_PX: Final = 28
_HEADING_PX: Final = 46
_CAPTION_PX: Final = 24
_TRIPLES: Final = 4
_SINGLES: Final = 13
_DPI: Final = 100
_INK: Final = "#1c2430"
_PALE: Final = "#5b6675"


@dataclass
class _Page:
    """Tiles and texts at positions in pixels from the top left."""

    tiles: list[tuple[int, int, Image]] = field(default_factory=list)
    words: list[tuple[float, float, str, dict[str, Any]]] = field(default_factory=list)
    y: int = _MARGIN_PX

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        self.words.append((x, y, text, {"color": _INK, "fontsize": 10} | style))


def draw_sheet(result: BalancedRows, path: Path, rng: np.random.Generator) -> Path:
    """Write a .png of some added and some removed images of each class; it shows faces.

    Mixtures are to the right of their two parents, the nearer one first, with the share of each.
    rng: selects the samples.
    Raises MoppetError if the file cannot be written.
    """
    page = _Page()
    new = result.balanced
    title = f"{new.method} in {'the embedding' if result.images is None else 'pixels'}"
    if result.new_are_copies or not len(new.labels):
        title = new.method
    page.write(_MARGIN_PX, page.y, title, fontsize=15, weight="bold")
    totals = f"{len(new.labels):,} added, {len(new.removed):,} removed; samples of each."
    page.write(_MARGIN_PX, page.y + 28, totals, color=_PALE)
    page.y += 28 + _HEADING_PX // 2
    for one in new.counts:
        if one.synthetic or one.removed:
            _draw_class(page, result, one, rng)
    return _save(page, path)


def _draw_class(
    page: _Page, result: BalancedRows, one: ClassCount, rng: np.random.Generator
) -> None:
    done = result.balanced
    page.y += 10
    text = f"{one.name}: {one.before:,} → {one.after:,}"
    page.write(_MARGIN_PX, page.y + 12, text, fontsize=12, weight="bold")
    page.y += 36
    new = np.flatnonzero(done.labels == one.name)
    if len(new) and result.new_are_copies:
        few = _some(new, _SINGLES, rng)
        text = f"repeated, {len(few)} of {one.synthetic:,}"
        _draw_row(page, text, _faces(result, done.parents[few, 0]))
    elif len(new):
        few = _some(new, _TRIPLES, rng)
        tiles: list[Image | None] = []
        captions: list[str] = []
        for row in few:
            mixture = None if result.images is None else result.images[row]
            tiles += [*_faces(result, done.parents[row]), mixture]
            share = float(done.shares[row])
            captions += [f"{share:.0%}", f"{1 - share:.0%}", "mixture"]
        text = f"added, {len(few)} of {one.synthetic:,}: nearer parent, other parent, mixture"
        _draw_row(page, text, tiles, captions)
    gone = done.removed[result.manifest.column("label")[result.rows[done.removed]] == one.name]
    if len(gone):
        few = _some(gone, _SINGLES, rng)
        _draw_row(page, f"removed, {len(few)} of {one.removed:,}", _faces(result, few))


def _draw_row(
    page: _Page, text: str, tiles: Sequence[Image | None], captions: Sequence[str] = ()
) -> None:
    """Draw images in a row, those with captions three by three; None is a point, not an image."""
    page.write(_MARGIN_PX, page.y, text, color=_PALE)
    y = page.y + 20
    for number, tile in enumerate(tiles):
        left = _MARGIN_PX + number * (TILE_PX + _GAP_PX)
        if captions:
            left += number // 3 * _APART_PX
        middle = left + TILE_PX / 2
        if tile is None:
            tile = np.full((TILE_PX, TILE_PX), 236, np.uint8)
            words = "a point,\nno image"
            page.write(middle, y + TILE_PX / 2, words, color=_PALE, ha="center", va="center")
        page.tiles.append((left, y, _sized(tile)))
        if captions:
            bold = {"weight": "bold"} if captions[number] == "mixture" else {"color": _PALE}
            style = {"ha": "center", "fontsize": 9, **bold}
            page.write(middle, y + TILE_PX + 4, captions[number], **style)
    page.y = y + TILE_PX + (_CAPTION_PX + 8 if captions else 14)


def _faces(result: BalancedRows, rows: Sequence[int] | np.ndarray[Any, Any]) -> list[Image]:
    """Return the faces as images of the space, or else as aligned crops."""
    chosen = np.asarray(rows)
    if (seen := result.space.images(result.features[chosen])) is not None:
        return list(seen)
    return list(result.faces.aligned(chosen.tolist()))


def _some(rows: np.ndarray[Any, Any], most: int, rng: np.random.Generator) -> Any:
    return np.sort(rng.choice(rows, min(most, len(rows)), replace=False))


def _sized(image: Image) -> Image:
    rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
    flags = cv2.INTER_AREA if rgb.shape[0] > TILE_PX else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, (TILE_PX, TILE_PX), interpolation=flags), np.uint8)


def _save(page: _Page, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widest = _SINGLES * (TILE_PX + _GAP_PX) - _GAP_PX
    width, height = widest + 2 * _MARGIN_PX, page.y + _MARGIN_PX // 2
    canvas = np.full((height, width, 3), 255, np.uint8)
    for left, top, tile in page.tiles:
        canvas[top : top + TILE_PX, left : left + TILE_PX] = tile
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    canvas_of: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas, extent=(0, width, height, 0), interpolation="none", aspect="auto")
    axes.set_axis_off()
    for x, y, text, style in page.words:
        axes.text(x, y, text, **({"va": "top"} | style))
    with replacing(path) as part:
        canvas_of.print_png(part)
    return path
