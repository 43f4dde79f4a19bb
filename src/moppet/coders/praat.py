"""Praat's TextGrid files: writes the long text format; reads long, short and chronological ones.

Source: the page "TextGrid file formats" of Praat's manual. Times are in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from moppet.coders.codings import (
    NO_VALUE,
    Code,
    Coding,
    Lane,
    check_codes,
    check_no_overlap,
    check_titles,
    decoded,
    read_content,
)
from moppet.values import TimelineError

_HEADER: Final = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
_CHRONOLOGICAL: Final = "Praat chronological TextGrid text file"
_KINDS: Final = ("IntervalTier", "TextTier")
# Only strings, flags and free-standing numbers are data; other text is ignored. Praat reads "5.",
# "5e-1" and "50%" as numbers, too.
_TOKEN: Final = re.compile(
    r'"(?P<text>[^"]*+(?:""[^"]*+)*+)"|(?P<flag><\w++>)|![^\n]*+|'
    r"(?<!\S)(?P<number>[-+]?\d++(?:\.\d*+)?(?:[eE][-+]?\d++)?)(?P<percent>%?)(?!\S)"
)


def textgrid(coding: Coding) -> bytes:
    """Return a file with an interval tier for every lane; a point tier if it has only points.

    Uncoded time becomes intervals with an empty text, as Praat requires.
    Raises TimelineError for a lane with overlapping codes, or with both points and intervals.
    """
    check_titles([lane.title for lane in coding.lanes], "tiers of a TextGrid")
    end_s = coding.end_s or 1.0  # Praat cannot open a TextGrid without length
    lines = [f"xmin = 0\nxmax = {end_s!r}\ntiers? <exists>\nsize = {len(coding.lanes)}\nitem []:"]
    for number, lane in enumerate(coding.lanes, 1):
        lines.append(f"    item [{number}]:")
        lines += [f"        {line}" for line in _tier(lane, end_s)]
    return (_HEADER + "\n".join(lines) + "\n").encode("utf-8")


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
    """Return every tier as a lane; intervals without a text count as not coded.

    Points without a text are counted in `Lane.left_out`; if no point of a tier has one, the tier's
    name is their label. Raises ValueError if the file is not a TextGrid in text format.
    """
    tokens = _tokens(_text_of(read_content(path)))
    try:
        kind = next(tokens)
        if kind == _CHRONOLOGICAL:
            return _read_chronological(tokens)
        if kind not in ("ooTextFile", "ooTextFile short") or next(tokens) != "TextGrid":
            raise ValueError("it is not a TextGrid")
        _, end_s = _number(tokens), _number(tokens)
        exists = next(tokens) == "<exists>"
        lanes = [_read_tier(tokens) for _ in range(_count(tokens) if exists else 0)]
    except StopIteration:
        raise ValueError("it ends too early") from None
    return Coding(tuple(lanes), duration_s=end_s)


def _text_of(data: bytes) -> str:
    if data.startswith(b"ooBinaryFile"):
        raise ValueError("it is binary; save it in Praat with 'Save as text file'")
    return decoded(data, "latin-1")


def _tokens(text: str) -> Iterator[str | float]:
    for match in _TOKEN.finditer(text):
        if match["text"] is not None:
            yield match["text"].replace('""', '"')
        elif match["flag"]:
            yield match["flag"]
        elif match["number"]:
            yield float(match["number"]) / (100 if match["percent"] else 1)


def _number(tokens: Iterator[str | float]) -> float:
    value = next(tokens)
    if not isinstance(value, float):
        raise ValueError(f"expected a number, found {value!r}")
    return value


def _count(tokens: Iterator[str | float]) -> int:
    value = _number(tokens)
    if not (value.is_integer() and value >= 0):
        raise ValueError(f"expected how many follow, found {value}")
    return int(value)


def _text(tokens: Iterator[str | float]) -> str:
    value = next(tokens)
    if isinstance(value, float):
        raise ValueError(f"expected a text in quotes, found {value}")
    return value.strip()


def _kind_and_name(tokens: Iterator[str | float]) -> tuple[str, str]:
    kind, name = _text(tokens), _text(tokens)
    if kind not in _KINDS:
        raise ValueError(f"expected a tier, found {kind!r}")
    _number(tokens), _number(tokens)
    return kind, name


def _read_tier(tokens: Iterator[str | float]) -> Lane:
    kind, name = _kind_and_name(tokens)
    codes = []
    for number in range(_count(tokens)):
        check_codes(number)
        start_s = _number(tokens)
        end_s = _number(tokens) if kind == "IntervalTier" else start_s
        codes.append(Code(start_s, end_s, _text(tokens)))
    return _lane(kind, name, codes)


def _read_chronological(tokens: Iterator[str | float]) -> Coding:
    """Return the tiers of a file that lists the intervals and points of all tiers by time."""
    _, end_s = _number(tokens), _number(tokens)
    tiers = [_kind_and_name(tokens) for _ in range(_count(tokens))]
    codes: list[list[Code]] = [[] for _ in tiers]
    for count, number in enumerate(tokens):
        check_codes(count)
        at = int(number) - 1 if isinstance(number, float) and number.is_integer() else -1
        if not 0 <= at < len(tiers):
            raise ValueError(f"expected the number of a tier, found {number!r}")
        start_s = _number(tokens)
        stop_s = _number(tokens) if tiers[at][0] == "IntervalTier" else start_s
        codes[at].append(Code(start_s, stop_s, _text(tokens)))
    lanes = (_lane(*tier, found) for tier, found in zip(tiers, codes, strict=True))
    return Coding(tuple(lanes), duration_s=end_s)


def _lane(kind: str, name: str, codes: list[Code]) -> Lane:
    labeled = tuple(code for code in codes if code.label)
    if kind == "IntervalTier" or len(labeled) == len(codes):
        return Lane(name, labeled)
    if not labeled:
        return Lane(name, tuple(code._replace(label=name) for code in codes), is_presence=True)
    return Lane(name, labeled, left_out={NO_VALUE: len(codes) - len(labeled)})
