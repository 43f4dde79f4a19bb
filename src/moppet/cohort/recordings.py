"""The list of a study's recordings: whose each one is, and in which session and condition."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from moppet.files import one_line, read_bytes
from moppet.timeline.schema import RECORDING_INFO
from moppet.values import UsageError, name_hint

Value = str | int | float
PARTICIPANT: Final = "participant"
"""The column that says whose recording it is: rows of one participant are one cluster."""
_PATH: Final = "path"
_HASH: Final = "source_sha256"
_TEXT: Final = frozenset({PARTICIPANT})
_MOST: Final = 32_000_000  # bytes


@dataclass(frozen=True)
class ListedRecording:
    """A row of the list. path: as written. info: the values of its other columns, by name.

    source_sha256: of the recording, if the list has this column.
    """

    path: str
    info: Mapping[str, Value]
    source_sha256: str | None = None


def read_recordings(path: Path) -> list[ListedRecording]:
    """Return the rows of a list of recordings, a CSV file with the column `path`.

    All other columns are free; `participant` is read as text, other cells are whole numbers,
    decimal numbers or text. Empty cells are left out. The separator is a comma, a semicolon or a
    tab. Raises UsageError if the file is no such list.
    """
    text = read_bytes(path, "list of recordings", UsageError, _MOST).decode("utf-8-sig", "replace")
    head = text.split("\n", 1)[0]
    mark = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    try:
        rows = [[cell.strip() for cell in row] for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path} is not a CSV file: {one_line(error)}.") from None
    rows = [row for row in rows if any(row)]
    columns = rows[0] if rows else []
    if _PATH not in columns:
        raise UsageError(
            f"{path} needs a column {_PATH!r} with the file of each recording; it has "
            f"{', '.join(columns) or 'no columns'}.{name_hint(_PATH, columns)}"
        )
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise UsageError(f"{path} has the column {twice[0]!r} twice: rename one of them.")
    found = []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            raise UsageError(
                f"Row {line} of {path} has {len(row)} cells, but there are {len(columns)} columns."
            )
        cells = {name: cell for name, cell in zip(columns, row, strict=True) if cell and name}
        if _PATH not in cells:
            raise UsageError(f"Row {line} of {path} lacks the recording's {_PATH}.")
        given = (cells.pop(_PATH), cells.pop(_HASH, None))
        info = {name: cell_value(name, cell) for name, cell in cells.items()}
        found.append(ListedRecording(given[0], info, given[1]))
    return found


def cell_value(column: str, cell: str) -> Value:
    """Return a cell as a whole number or a decimal number, if that loses nothing; else as text.

    "007" stays text, as does every participant.
    """
    if column in _TEXT:
        return cell
    try:
        whole = int(cell)
        if str(whole) == cell:
            return whole
    except ValueError:
        pass
    try:
        number = float(cell)
    except ValueError:
        return cell
    is_plain = math.isfinite(number) and (cell[0] in "-.123456789" or cell.startswith("0."))
    return number if is_plain else cell


def match_recordings(
    listed: Sequence[ListedRecording], found: Sequence[tuple[str, str, Mapping[str, Any]]]
) -> list[ListedRecording | None]:
    """Return the row of the list of each timeline, None where there is none.

    found: each timeline's name in the study, such as "c01/s1.mp4", its folder, and its metadata. A
    row fits by its source_sha256, or by the name of its file and, if several have this name, by the
    folders before it. Raises UsageError if several rows fit equally well, or one row fits several
    recordings equally well.
    """
    by_hash = {row.source_sha256: row for row in listed if row.source_sha256}
    matched: list[ListedRecording | None] = []
    shared: list[int] = []
    for name, folder, about in found:
        row, n = by_hash.get(str(about.get(_HASH))), _CERTAIN
        if row is None:
            row, n = _by_name(listed, name, folder, about)
        matched.append(row)
        shared.append(n)
    for row in listed:
        mine = [i for i, one in enumerate(matched) if one is row]
        most = max((shared[i] for i in mine), default=0)
        best = [i for i in mine if shared[i] == most]
        hashes = {found[i][2].get(_HASH) or found[i][0] for i in best}
        if len(hashes) > 1:
            raise UsageError(
                f"The row {row.path!r} of the list fits {found[best[0]][0]} and "
                f"{found[best[1]][0]}: write the recordings' folders into the column 'path', or "
                "add a column 'source_sha256'."
            )
        for i in mine:
            matched[i] = row if i in best else None
    return matched


_CERTAIN: Final = 1000


def _by_name(
    listed: Sequence[ListedRecording], name: str, folder: str, about: Mapping[str, Any]
) -> tuple[ListedRecording | None, int]:
    """Return the row that fits a timeline, and how many of their last folders are the same."""
    source = str(about.get("source_name") or PurePosixPath(name).name)
    fits = [row for row in listed if _parts(row.path)[-1:] == [source.casefold()]]
    fits = fits or [row for row in listed if _stem(row.path) == PurePosixPath(source).stem.lower()]
    if not fits:
        return None, 0
    place = _parts(folder)  # its last part is the recording's own folder, or that of a session
    parents = [_parts(row.path)[:-1] for row in fits]
    shared = [max(_shared(one, place[:-1]), _shared(one, place)) for one in parents]
    best = [row for row, n in zip(fits, shared, strict=True) if n == max(shared)]
    if len(best) > 1:
        paths = ", ".join(repr(row.path) for row in best[:5])
        raise UsageError(
            f"The rows {paths} of the list all fit the timeline {name}: keep the folders of the "
            "recordings in the results, or add a column 'source_sha256' to the list."
        )
    return best[0], max(shared)


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").casefold().split("/") if part not in ("", ".")]


def _stem(path: str) -> str:
    return PurePosixPath(_parts(path)[-1]).stem if _parts(path) else ""


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Return how many of the last folders are the same."""
    n = 0
    while n < min(len(first), len(second)) and first[-1 - n] == second[-1 - n]:
        n += 1
    return n


def info_columns(infos: Iterable[Mapping[str, Any]], reserved: Iterable[str]) -> list[str]:
    """Return the columns of all recordings, `participant` first.

    Raises UsageError for one that is also a column of the study's tables.
    """
    columns = list(dict.fromkeys((PARTICIPANT, *(name for info in infos for name in info))))
    taken = set(reserved)
    for name in columns:
        if name.casefold() in taken:
            raise UsageError(
                f"The column {name!r} of the list of recordings is also a column of the study's "
                f"tables: rename it, for example to 'my_{name}'."
            )
    return columns


def plain_info(given: object, where: str) -> dict[str, Value]:
    """Return the values that a timeline's metadata has of its recording; {} for none.

    Raises UsageError if they are no text or numbers by name.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(
        isinstance(v, str | int | float) and not isinstance(v, bool) for v in given.values()
    ):
        raise UsageError(f"{where} has a damaged {RECORDING_INFO}: it must hold text or numbers.")
    info = {str(k): v for k, v in given.items() if v != "" and k != _PATH}
    if PARTICIPANT in info:
        info[PARTICIPANT] = str(info[PARTICIPANT])
    return info
