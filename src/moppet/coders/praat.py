"""Praat's TextGrid files: writes the long text format, reads the long and the short one.

Source: the page "TextGrid file formats" of Praat's manual. Times are in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from moppet.coders.codings import Code, Coding, Lane, check_no_overlap, check_titles, decoded
from moppet.values import TimelineError

_HEADER: Final = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
# Only strings, flags and free-standing numbers are data; other text is ignored.
_TOKEN: Final = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?P<flag><\w+>)|![^\n]*|'
    r"(?<!\S)(?P<number>[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\S)"
)


def write_textgrid(coding: Coding, path: Path) -> None:
    """Write an interval tier for every lane, or a point tier if the lane has only points.

    Uncoded time becomes intervals with an empty text, as Praat requires.
    Raises TimelineError for a lane with overlapping codes, or with both points and intervals.
    """
    check_titles([lane.title for lane in coding.lanes], "tiers of a TextGrid")
    end_s = coding.end_s or 1.0  # Praat cannot open a TextGrid without length
    lines = [f"xmin = 0\nxmax = {end_s!r}\ntiers? <exists>\nsize = {len(coding.lanes)}\nitem []:"]
    for number, lane in enumerate(coding.lanes, 1):
        lines.append(f"    item [{number}]:")
        lines += [f"        {line}" for line in _tier(lane, end_s)]
    path.write_text(_HEADER + "\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _tier(lane: Lane, end_s: float) -> Iterator[str]:
    points = bool(lane.codes) and all(code.is_point for code in lane.codes)
    yield f'class = "{"TextTier" if points else "IntervalTier"}"'
    yield f"name = {_quoted(lane.title)}"
    yield f"xmin = 0\n        xmax = {end_s!r}"
    if points:
        yield f"points: size = {len(lane.codes)}"
        for number, code in enumerate(lane.codes, 1):
            yield f"points [{number}]:"
            yield f"    number = {code.start_s!r}"
            yield f"    mark = {_quoted(code.label)}"
        return
    intervals = list(_tiled(lane, end_s))
    yield f"intervals: size = {len(intervals)}"
    for number, (start_s, stop_s, label) in enumerate(intervals, 1):
        yield f"intervals [{number}]:"
        yield f"    xmin = {start_s!r}"
        yield f"    xmax = {stop_s!r}"
        yield f"    text = {_quoted(label)}"


def _tiled(lane: Lane, end_s: float) -> Iterator[Code]:
    """Yield the codes, with empty ones filling the gaps of the recording."""
    check_no_overlap(lane, "Praat")
    at_s = 0.0
    for code in lane.codes:
        if code.is_point:
            raise TimelineError(
                f"A TextGrid tier has either intervals or points, but {lane.title!r} has both."
            )
        start_s = max(code.start_s, at_s)
        if start_s > at_s:
            yield Code(at_s, start_s, "")
        yield Code(start_s, code.end_s, code.label)
        at_s = code.end_s
    if at_s < end_s or not lane.codes:
        yield Code(at_s, end_s, "")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def read_textgrid(path: Path) -> Coding:
    """Return every tier as a lane; intervals without a text are left out.

    Raises ValueError if the file is not a TextGrid in text format.
    """
    tokens = _tokens(_text_of(path.read_bytes()))
    try:
        if next(tokens) not in ("ooTextFile", "ooTextFile short") or next(tokens) != "TextGrid":
            raise ValueError("it is not a TextGrid")
        _, end_s = _number(tokens), _number(tokens)
        exists = next(tokens) == "<exists>"
        size = int(_number(tokens)) if exists else 0
        lanes = tuple(_read_tier(tokens) for _ in range(size))
    except StopIteration:
        raise ValueError("it ends too early") from None
    return Coding(lanes, duration_s=end_s)


def _text_of(data: bytes) -> str:
    if data.startswith(b"ooBinaryFile"):
        raise ValueError("it is binary; save it in Praat with 'Save as text file'")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    return decoded(data, "latin-1")


def _tokens(text: str) -> Iterator[str | float]:
    for match in _TOKEN.finditer(text):
        if match["text"] is not None:
            yield match["text"].replace('""', '"')
        elif match["flag"]:
            yield match["flag"]
        elif match["number"]:
            yield float(match["number"])


def _number(tokens: Iterator[str | float]) -> float:
    value = next(tokens)
    if not isinstance(value, float):
        raise ValueError(f"expected a number, found {value!r}")
    return value


def _read_tier(tokens: Iterator[str | float]) -> Lane:
    kind, name = next(tokens), next(tokens)
    if kind not in ("IntervalTier", "TextTier"):
        raise ValueError(f"expected a tier, found {kind!r}")
    _number(tokens), _number(tokens)
    codes = []
    for _ in range(int(_number(tokens))):
        start_s = _number(tokens)
        end_s = _number(tokens) if kind == "IntervalTier" else start_s
        label = str(next(tokens)).strip()
        if label:
            codes.append(Code(start_s, end_s, label))
    return Lane(str(name), tuple(codes))
