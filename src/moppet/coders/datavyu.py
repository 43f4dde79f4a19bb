"""Datavyu's spreadsheets (.opf): a zip with the text file `db` and the YAML file `project`.

`db` begins with #4; a column is a line "name (MATRIX,true,)-code|NOMINAL,…", and each of its cells
a line "onset,offset,(value,…)" with times as HH:MM:SS:mmm. A backslash escapes the next character,
including a line end. Parsing follows Datavyu's own reader.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from moppet.coders.codings import (
    MAX_BYTES,
    NO_VALUE,
    Code,
    Coding,
    Lane,
    check_codes,
    check_size,
    check_titles,
    decoded,
    milliseconds,
    read_content,
)

MAX_FILE_BYTES: Final = 32_000_000
"""Larger files are refused before they are unpacked."""
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_KIND: Final = re.compile(r"\((?P<kind>\w+)")
_CELL: Final = re.compile(r"\d\d+:")
_INSIDE: Final = re.compile(r"(.*[/\\])?db", re.DOTALL)
"""Old files lie in a folder of the zip; on Windows its name ends in a backslash."""
_QUERIES: Final = "###QueryVar###"
"""A MacSHAPA column that Datavyu leaves out as well."""
_ESCAPED_TEXTS: Final = re.compile(r"(?:\\.|[^\\,])++", re.DOTALL)
"""Texts between commas that are not escaped."""
_TIME: Final = re.compile(r"(\d+):(\d\d):(\d\d):(\d{3})")


def datavyu_file(coding: Coding) -> bytes:
    """Return a file with a column for every lane; lanes with equal name and times share one.

    Datavyu allows only letters, digits and underscores in names. The file holds no path to the
    recording, so open the recording in Datavyu by hand.
    """
    columns = [list(parts) for _, parts in groupby(coding.lanes, _column_key)]
    names = [_plain(f"{parts[0].person} {parts[0].name}") for parts in columns]
    check_titles(names, "columns of a Datavyu file")
    lines = ["#4"]
    for name, parts in zip(names, columns, strict=True):
        codes = ",".join(f"{_plain(lane.part or 'code')}|NOMINAL" for lane in parts)
        lines.append(f"{name} (MATRIX,true,)-{codes}")
        for cells in zip(*(lane.codes for lane in parts), strict=True):
            start, end = (_clock(milliseconds(time)) for time in cells[0][:2])
            values = ",".join(_escaped(code.label) for code in cells)
            lines.append(f"{start},{end},({values})")
    name = json.dumps(Path(coding.recording).stem)
    project = f'!project\ndbFile: db\nname: {name}\norigpath: ""\nversion: 5\nviewerSettings: []\n'
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("project", _ZIP_TIME), project)
        archive.writestr(zipfile.ZipInfo("db", _ZIP_TIME), "\n".join(lines) + "\n")
    return content.getvalue()


def _column_key(lane: Lane) -> tuple[str, str, tuple[tuple[float, float], ...]]:
    return lane.person, lane.name, tuple(code[:2] for code in lane.codes)


def _plain(name: str) -> str:
    plain = re.sub(r"\W+", "_", name.strip(), flags=re.ASCII).strip("_") or "column"
    return plain if plain[0].isalpha() else f"c{plain}"


def _clock(time_ms: int) -> str:
    seconds, rest = divmod(time_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{rest:03}"


def _escaped(label: str) -> str:
    return re.sub(r"([\\,\-\n])", r"\\\1", label.strip())


def read_datavyu(path: Path) -> Coding:
    """Return every code of every column as a lane; empty values are counted, but left out.

    The only code of a column becomes a lane with the column's name; several codes become parts.
    If no cell of a column has a value, the column's name is their label. A cell whose offset is
    before its onset is a point.
    Raises ValueError or BadZipFile if the file is not an .opf.
    """
    content = read_content(path, MAX_FILE_BYTES)
    if re.match(rb"\s*(!project|dbFile|name\s*:)", content):  # OpenSHAPA's first projects
        sheet = re.search(rb"dbFile:[ \t]*([^\r\n]*)", content)
        where = repr(decoded(sheet[1], "cp1252").strip()) if sheet else "another file"
        raise ValueError(
            f"it is an OpenSHAPA project whose codes lie in {where}: open it in Datavyu and save "
            "it again"
        )
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        inside = [one for one in archive.infolist() if _INSIDE.fullmatch(one.filename)]
        if not inside:
            raise ValueError("it contains no spreadsheet (db)")
        check_size(inside[0].file_size, MAX_BYTES, "its spreadsheet")
        with archive.open(inside[0]) as file:  # the size in the directory may be wrong
            data = file.read(MAX_BYTES + 1)
    check_size(len(data), MAX_BYTES, "its spreadsheet")
    # Datavyu writes in the encoding of the system it runs on.
    return Coding(tuple(_read_columns(decoded(data, "cp1252"))))


def _read_columns(text: str) -> Iterator[Lane]:
    name, kind, parts, cells = "", "", [""], list[tuple[float, float, list[str]]]()
    if not text.startswith("#"):  # the first version, of OpenSHAPA, has no escapes
        text = text.replace("\\", "\\\\")
    for number, line in enumerate(_logical_lines(text)):
        if not line.strip() or (number == 0 and line.startswith("#")):
            continue
        if _CELL.match(line):
            check_codes(number)
            cells.append(_cell(line, kind))
            continue
        yield from _lanes(name, parts, cells)
        name, kind, parts, cells = *_column(line), []
    yield from _lanes(name, parts, cells)


def _logical_lines(text: str) -> Iterator[str]:
    """Yield lines; an escaped line end continues the line."""
    held: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        held.append(line)
        if (len(line) - len(line.rstrip("\\"))) % 2 == 0:
            yield "\n".join(held)
            held.clear()
    if held:
        yield "\n".join(held)


def _column(line: str) -> tuple[str, str, list[str]]:
    match = _KIND.search(line)
    if match is None:
        raise ValueError(f"expected a column, found {line[:40]!r}")
    kind = match["kind"].upper()
    parts = [""]
    if kind == "MATRIX":
        codes = line[match.end() :].partition(")-")[2]
        parts = [_split(code, "|")[0] for code in _ESCAPED_TEXTS.findall(codes) or [""]]
    return _split(line[: match.start()].rstrip(), "\0")[0], kind, parts


def _cell(line: str, kind: str) -> tuple[float, float, list[str]]:
    onset, offset, values = [*line.split(",", 2), ""][:3]
    start_s, end_s = _seconds(onset), _seconds(offset)
    if kind == "MATRIX":
        return start_s, end_s, _split(values.removeprefix("(").removesuffix(")"), ",")
    return start_s, end_s, _split(values, "\0")


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"expected a time like 00:00:01:500, found {text!r}")
    hours, minutes, seconds, rest = map(int, match.groups())
    return (((hours * 60 + minutes) * 60 + seconds) * 1000 + rest) / 1000


def _split(text: str, at: str) -> list[str]:
    """Split at each unescaped `at` and remove the backslashes."""
    parts = [""]
    characters = iter(text)
    for character in characters:
        if character == at:
            parts.append("")
        else:
            parts[-1] += next(characters, "") if character == "\\" else character
    return parts


def _lanes(
    name: str, parts: Sequence[str], cells: Sequence[tuple[float, float, list[str]]]
) -> Iterator[Lane]:
    if name in ("", _QUERIES):
        return
    spans = [(start_s, max(start_s, end_s)) for start_s, end_s, _ in cells]
    values = [[_value(row, number, part) for *_, row in cells] for number, part in enumerate(parts)]
    if cells and not any(map(any, values)):
        yield Lane(name, tuple(Code(*span, name) for span in spans), is_presence=True)
        return
    for part, labels in zip(parts, values, strict=True):
        codes = tuple(
            Code(*span, label) for span, label in zip(spans, labels, strict=True) if label
        )
        left_out = {NO_VALUE: len(cells) - len(codes)} if len(codes) < len(cells) else {}
        yield Lane(name, codes, part=part if len(parts) > 1 else "", left_out=left_out)


def _value(values: Sequence[str], number: int, part: str) -> str:
    """Return the value of a part; "" if it is empty or still Datavyu's placeholder."""
    value = values[number].strip() if number < len(values) else ""
    return "" if value == f"<{part}>" else value
