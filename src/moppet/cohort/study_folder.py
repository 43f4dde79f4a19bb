"""A study's folder, as `moppet gather` writes it."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from moppet.files import one_line, read_json
from moppet.values import MoppetError, UsageError, name_hint

FRAMES: Final = "frames"
EPISODES: Final = "episodes.csv"
SUMMARY: Final = "summary.csv"
RECORDINGS: Final = "recordings.csv"
STUDY: Final = "study.json"

Row = dict[str, Any]


@dataclass(frozen=True)
class StudyFolder:
    """A study that was gathered. about: the content of study.json."""

    folder: Path
    about: Mapping[str, Any] = field(repr=False)

    @property
    def recordings(self) -> list[Mapping[str, Any]]:
        """What study.json has of each recording, by name."""
        return list(self.about["recordings"])

    @property
    def info_columns(self) -> list[str]:
        """The columns of the list of recordings, `participant` first."""
        return list(self.about["info_columns"])

    @cached_property
    def summary(self) -> list[Row]:
        """The rows of summary.csv: numbers, text, None for empty."""
        return read_rows(self.folder / SUMMARY)

    @property
    def columns(self) -> list[str]:
        """The columns by which the summary can be split: those of the list, `role` and others."""
        return [*self.info_columns, "recording", "person", "role"]

    def check_columns(self, wanted: Sequence[str], option: str) -> None:
        """Raise UsageError for a column that the study lacks. option: the one that names it."""
        for name in wanted:
            if name not in self.columns:
                raise UsageError(
                    f"{option} takes columns of the study, but there is no {name!r}."
                    f"{name_hint(name, self.columns)} The study has {', '.join(self.columns)}."
                )

    def frames(self, columns: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], Any]]:
        """Yield each recording of `recordings`, and these columns of its frames as a table.

        Columns that the study lacks are left out.
        """
        for one in self.recordings:
            path = self.folder / FRAMES / str(one["frames_file"])
            try:
                file = pq.ParquetFile(path)
                have = [name for name in columns if name in file.schema_arrow.names]
                table = file.read(columns=have)
            except Exception as error:  # Arrow has many for a damaged file
                raise MoppetError(
                    f"{path} cannot be read ({one_line(error)}): run moppet gather again."
                ) from error
            yield one, table

    @cached_property
    def frame_columns(self) -> list[str]:
        """The columns of the frames."""
        path = self.folder / FRAMES / str(self.recordings[0]["frames_file"])
        try:
            return list(pq.read_schema(path).names)
        except Exception as error:  # as above
            raise MoppetError(
                f"{path} cannot be read ({one_line(error)}): run moppet gather again."
            ) from error


def read_study(folder: Path) -> StudyFolder:
    """Return the study in a folder. Raises UsageError if there is none."""
    if not (folder / STUDY).is_file():
        raise UsageError(
            f"{folder} is not a study: it has no {STUDY}. Make one with: moppet gather RESULTS -o "
            f"{folder}"
        )
    about = read_study_json(folder)
    if not (
        isinstance(about.get("recordings"), list)
        and about["recordings"]
        and isinstance(about.get("info_columns"), list)
    ):
        raise UsageError(f"{folder / STUDY} is damaged: run moppet gather again.")
    return StudyFolder(folder, about)


def read_study_json(folder: Path) -> Mapping[str, Any]:
    """Return the content of study.json. Raises UsageError if it is damaged."""
    about = read_json(folder / STUDY, "study", UsageError)
    if not isinstance(about, dict):
        raise UsageError(f"{folder / STUDY} is damaged: run moppet gather again.")
    return about


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a CSV file of the study: numbers as such, None for empty cells.

    Raises UsageError if it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [{k: _value(k, v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read ({one_line(error)}).") from None


_TEXT: Final = frozenset(
    ("participant", "person", "role", "kind", "label", "recording", "source_sha256")
)


def _value(column: str | None, cell: Any) -> Any:
    if not isinstance(cell, str) or not cell:
        return None
    if column in _TEXT:
        return cell[1:] if cell[0] == "'" and cell[1:2] in tuple("=+-@\t") else cell
    try:
        number = float(cell)
    except ValueError:
        return cell
    return number if math.isfinite(number) else cell
