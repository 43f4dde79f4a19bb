"""Movements, valence and blinks in a report: small lanes, key figures and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from moppet.pages.html_tables import Card, Row, Table
from moppet.pages.timeline_charts import UNITS_PER_PX, WIDTH, Axis, LanePainter, Paths
from moppet.pages.wording import counted, format_share, format_signed
from moppet.timeline import Timeline
from moppet.timeline.blinks import Blink
from moppet.timeline.downsample import Columns, Lane, Numbers
from moppet.timeline.movements import MovementEpisode, movements_in
from moppet.timeline.time_axis import NO_VALUE, format_length
from moppet.vocabulary import (
    MOVEMENT_OF,
    MOVEMENTS,
    SIDED_MOVEMENTS,
    TWO_WAY_MOVEMENTS,
    movement_range,
)

Kind = Literal["plain", "sides", "two_way", "valence", "blinks"]
LOW_PX: Final = 24
HIGH_PX: Final = 36
"""Heights of a lane from 0 to 1, and of one with a line in the middle."""
_MARGIN_PX: Final = 4
_TITLES: Final = {
    "blink": "lids closed",
    "gaze_x": "gaze, sideways",
    "gaze_y": "gaze, vertical",
    "jaw_sideways": "jaw, sideways",
}
_WAYS: Final = {
    "gaze_x": "up is the person's left",
    "gaze_y": "up is upward",
    "jaw_sideways": "up is the person's left",
}


@dataclass(frozen=True)
class MovementRow:
    """One small lane. at: which columns of `values` it shows: two for both sides, left first.

    title: its name. about: its action unit, and what up and down mean.
    """

    kind: Kind
    title: str
    about: str
    at: tuple[int, ...]
    top_px: int

    @property
    def height_px(self) -> int:
        """Height with margins."""
        return LOW_PX if self.kind in ("plain", "blinks") else HIGH_PX

    @property
    def base_px(self) -> float:
        """Where 0 is, from the top of the chart."""
        if self.kind in ("plain", "blinks"):
            return self.top_px + LOW_PX - _MARGIN_PX
        return self.top_px + (HIGH_PX - _MARGIN_PX) / 2

    @property
    def reach_px(self) -> float:
        """Height of the value 1 above 0."""
        return self.base_px - self.top_px


def movement_title(name: str) -> str:
    """Return a movement's name in words, without its side."""
    return _TITLES.get(name, name.replace("_", " "))


def name_in_words(name: str) -> str:
    """Return a movement's name in words, with its side: "brow lower, left"."""
    base = MOVEMENT_OF[name]
    side = name.removeprefix(base).replace("_", " ")
    return movement_title(base) + ("," + side if side else "")


def movement_rows(names: Sequence[str]) -> list[MovementRow]:
    """Return the lanes of a timeline's movements: valence, blinks, then those from brow to jaw.

    names: its movements. Where both sides are there, they share a lane, and their mean has none.
    """
    place = {name: i + 1 for i, name in enumerate(names)}  # 0 is the valence
    rows: list[MovementRow] = []

    def add(kind: Kind, title: str, about: str, *at: int) -> None:
        top_px = rows[-1].top_px + rows[-1].height_px if rows else 0
        rows.append(MovementRow(kind, title, about, at, top_px))

    add("valence", "valence", "up is pleasant, down is unpleasant", 0)
    if "blink" in place:
        add("blinks", "blinks", "a line for each", place["blink"])
    for name, unit in MOVEMENTS.items():
        title, sides = movement_title(name), [f"{name}_left", f"{name}_right"]
        if name in SIDED_MOVEMENTS and all(side in place for side in sides):
            add("sides", title, f"{unit}; up is the person's left side", *map(place.get, sides))  # type: ignore[arg-type]
            continue
        for one in (name, *sides):
            if one in place:
                way = _WAYS.get(name) if name in TWO_WAY_MOVEMENTS else None
                kind: Kind = "plain" if way is None else "two_way"
                side = one.removeprefix(name).replace("_", " ")
                add(kind, title + side, f"{unit}; {way}" if way else unit, place[one])
    return rows


def lane_values(lane: Lane, *, peaks: bool = False) -> Numbers:
    """Return (m, 1 + x) the valence and movements of a lane. peaks: those furthest from 0."""
    return np.column_stack([lane.valence, lane.movement_peaks if peaks else lane.movements])


def block_height_px(rows: Sequence[MovementRow]) -> int:
    """Return the height of the chart of these lanes."""
    return rows[-1].top_px + rows[-1].height_px


def movement_paths(
    axis: Axis, columns: Columns, lane: Lane, rows: Sequence[MovementRow], blinks: Sequence[Blink]
) -> Paths:
    """Yield the chart of one face's movements, from back to front. blinks: those of this face."""
    painter = LanePainter(axis, columns, lane)
    height = block_height_px(rows)
    values = lane_values(lane, peaks=True)
    yield "paper", painter.boxes(np.ones(len(lane.at), np.bool_), 0, height)
    yield "murky", painter.boxes(lane.low_quality, 0, height)
    for row in rows:
        one = values[:, row.at[0]]
        if row.kind == "blinks":
            yield "tick", _ticks(axis, row, blinks)
        elif row.kind == "valence":
            for css, part in (("g-positive", np.fmax(one, 0)), ("g-negative", np.fmin(one, 0))):
                known = np.where(np.isnan(one), np.nan, part)
                yield f"fill {css}", painter.area(known, row.base_px, row.reach_px)
            yield "line valence", painter.area(one, row.base_px, row.reach_px, filled=False)
        else:
            yield "area move", painter.area(one, row.base_px, row.reach_px)
            if row.kind == "sides":
                right = values[:, row.at[1]]
                yield "area move other", painter.area(-right, row.base_px, row.reach_px)
    bases = (round(row.base_px * UNITS_PER_PX) for row in rows)
    yield "rule", "".join(f"M0 {y}h{WIDTH}" for y in bases)


def _ticks(axis: Axis, row: MovementRow, blinks: Sequence[Blink]) -> str:
    places = np.unique(axis.units(np.array([one.start_s for one in blinks])))
    top, reach = (round(px * UNITS_PER_PX) for px in (row.top_px + 2, row.reach_px - 2))
    return "".join(f"M{x} {top}v{reach}" for x in places)


def peak_texts(
    lane: Lane, rows: Sequence[MovementRow], n_blinks: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each lane's largest value as text, and its kind and columns for the page's script.

    n_blinks: number of blinks; None if they cannot be counted.
    """
    values = lane_values(lane, peaks=True)
    for row in rows:
        shown = [_furthest(values[:, at]) for at in row.at]
        if row.kind == "blinks":
            text = NO_VALUE if n_blinks is None else f"{n_blinks}\N{NO-BREAK SPACE}×"
        else:
            text = format_values(row.kind, shown)
        yield text, {"kind": row.kind, "at": ",".join(map(str, row.at))}


def format_values(kind: Kind, values: Sequence[float | None]) -> str:
    """Return values as in the lane's column: 62 %, 62 / 10 %, or +0.31; a dash for none."""
    if kind in ("valence", "two_way"):
        return format_signed(values[0])
    if any(value is None for value in values):
        return NO_VALUE
    shares = (f"{100 * value:.0f}" for value in values if value is not None)
    return " / ".join(shares) + "\N{NO-BREAK SPACE}%"


def _furthest(values: Numbers) -> float | None:
    known = values[np.isfinite(values)]
    return float(known[np.abs(known).argmax()]) if len(known) else None


def movement_cards(face: Mapping[str, Any], is_photos: bool) -> Iterator[Card]:
    """Yield the mean valence and the rate of blinks. face: one entry of `summary()["faces"]`."""
    of = "of the sure faces" if is_photos else "over the sure time"
    yield Card(
        "valence", format_signed(face["mean_valence"]), (f"mean {of}, from \N{MINUS SIGN}1 to 1",)
    )
    if not is_photos and "blinks" in face:
        rate, n = face["blinks_per_min"], face["blinks"]
        if rate is None:
            yield Card("blinks", NO_VALUE, ("the frames are too far apart",))
        else:
            yield Card("blinks", f"{rate:.0f}", (f"a minute; {counted(n, 'blink')} in all",))


def movement_table(
    timeline: Timeline, face: Mapping[str, Any], who: str, found: Sequence[MovementEpisode]
) -> Table:
    """Return the mean and the episodes of each movement of one face, or of all.

    face: its entry of `summary()["faces"]`. found: its episodes.
    """
    rows: list[Row] = []
    for name in movements_in(timeline.table):
        mean = face["movements"][name]
        shown = format_signed(mean) if movement_range(name)[0] < 0 else format_share(mean)
        row = [name_in_words(name), MOVEMENTS[MOVEMENT_OF[name]], shown]
        if not timeline.photos:
            seconds = [one.end_s - one.start_s for one in found if one.movement == name]
            row += [str(len(seconds)), format_length(math.fsum(seconds))]
            row.append(format_length(max(seconds, default=None)))
        rows.append(row)
    head = ["movement", "action unit", "mean"]
    head += [] if timeline.photos else ["episodes", "time", "longest"]
    return Table(f"Each movement, {who}", head, rows, css="tall", words=2)
