"""Reads and writes coders' files; the file name selects the program."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from moppet.coders.boris import boris_project, read_boris
from moppet.coders.boris_tables import boris_aggregated, boris_tabular, read_boris_table
from moppet.coders.codings import Coding, checked
from moppet.coders.datavyu import datavyu_file, read_datavyu
from moppet.coders.elan import elan_file, read_elan
from moppet.coders.praat import read_textgrid, textgrid
from moppet.coders.timeline_coding import coding_of, corrected_lanes, frame_coding
from moppet.files import one_line, write_bytes
from moppet.timeline import read_timeline
from moppet.timeline.annotations import CORRECTIONS_SUFFIX, AnnotatedTimeline, read_corrections
from moppet.timeline.movements import LEVEL, choose_movements
from moppet.values import TimelineError

Writer = Callable[[Coding], bytes]
"""A coding → the content of the file; raises TimelineError if the format cannot hold it."""

PROGRAMS: Final[dict[str, dict[str, Writer]]] = {
    "elan": {".eaf": elan_file},
    "boris": {
        ".boris": boris_project,
        "_tabular.tsv": boris_tabular,
        "_aggregated.tsv": boris_aggregated,
    },
    "datavyu": {".opf": datavyu_file},
    "textgrid": {".TextGrid": textgrid},
}
"""Program → file ending → writer."""

_READERS: Final[dict[str, Callable[[Path], Coding]]] = {
    ".eaf": read_elan,
    ".boris": read_boris,
    ".boris.gz": read_boris,
    ".tsv": read_boris_table,
    ".csv": read_boris_table,
    ".opf": read_datavyu,
    ".textgrid": read_textgrid,
    ".parquet": lambda path: frame_coding(read_timeline(path)),
    CORRECTIONS_SUFFIX: lambda path: Coding(tuple(corrected_lanes(read_corrections(path)))),
}


def write_program(coding: Coding, folder: Path, stem: str, program: str) -> list[Path]:
    """Write a program's files and return their paths; each is replaced only when complete.

    Raises TimelineError if the program cannot represent the codes or the folder is not writable.
    """
    return [
        write_bytes(folder / f"{stem}{ending}", writer(coding), TimelineError)
        for ending, writer in PROGRAMS[program].items()
    ]


def read_coding(path: Path) -> Coding:
    """Return the coding in a file of ELAN, BORIS, Datavyu or Praat, or a timeline, by its ending.

    Its times are those of the first recording that was coded; see `Coding.media`.
    Raises TimelineError if there is no such file, or it has another format.
    """
    ending = next((e for e in _READERS if path.name.lower().endswith(e)), None)
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "is a pipe or device"
        raise TimelineError(
            f"Codes are read from a file, but {path} {kind if path.exists() else 'does not exist'}."
        )
    if ending is None:
        raise TimelineError(
            f"Codes are read from {', '.join(_READERS)}, but {path.name!r} has another ending: "
            "export BORIS tables as TSV or CSV."
        )
    try:
        return checked(_READERS[ending](path))
    except TimelineError as error:
        raise TimelineError(f"{path}: {error}") from None
    except OSError as error:
        if isinstance(error, zipfile.BadZipFile) or error.strerror is None:
            raise _unreadable(path, error) from error
        raise TimelineError(f"Cannot read {path}: {error.strerror}.") from None
    except Exception as error:  # XML, ZIP, JSON and CSV each have many for a damaged file
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> TimelineError:
    reason = one_line(error) or type(error).__name__
    if isinstance(error, KeyError):
        reason = f"it lacks {reason}"
    return TimelineError(f"{path} contains no codes that moppet can read: {reason}.")


def write_programs(
    annotated: AnnotatedTimeline,
    folder: Path,
    stem: str,
    programs: Sequence[str],
    probabilities_s: float,
    movements: Sequence[str] = (),
    level: float = LEVEL,
) -> list[Path]:
    """Write a timeline and its corrections for these coders' programs; return the paths.

    movements: those to write, as `choose_movements` takes them; level: where they begin.
    Raises UsageError for a movement that the timeline lacks, TimelineError if a program cannot
    represent the codes or the folder is not writable.
    """
    coding = coding_of(
        annotated.timeline,
        probabilities_s=probabilities_s,
        movements=choose_movements(annotated.timeline.table, movements) if movements else (),
        level=level,
        made_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        corrected=corrected_lanes(annotated.corrections, annotated.people),
    )
    return [path for program in programs for path in write_program(coding, folder, stem, program)]
