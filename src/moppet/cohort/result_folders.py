"""Where the results of each recording lie: a folder of its own, which no other one gets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from moppet.media import FoundRecording, recording_sha256
from moppet.timeline import read_timeline
from moppet.values import MoppetError, TimelineError


def result_names(recordings: Sequence[FoundRecording]) -> list[str]:
    """Return the folder of each recording's results, as a path below that of all results.

    A recording in a folder that was given keeps its path below it ("c01/s1.mp4"); one that was
    given itself is named after its file ("s1"). If two would share a folder, all keep their paths
    below the folder that they have in common.
    """
    names = [one.below or _own_name(one.source) for one in recordings]
    if len({name.casefold() for name in names}) == len(names):
        return names
    places = [Path(one.source).resolve() for one in recordings]
    common = os.path.commonpath([place.parent for place in places])
    return [place.relative_to(common).as_posix() for place in places]


def _own_name(source: str) -> str:
    path = Path(source)
    if path.is_dir():
        return path.resolve().name or "root"
    return path.stem or path.name


def kept_names(
    recordings: Sequence[FoundRecording], names: Sequence[str], results: Path
) -> list[str]:
    """Return the names, but that of the folder where earlier results of a recording already lie.

    An earlier moppet, or a run that named the file itself, wrote the results of c01/s1.mp4 to s1:
    they stay there, with their corrections.
    """
    taken, kept = set(names), []
    for one, name in zip(recordings, names, strict=True):
        old = PurePosixPath(name).stem
        if old not in taken and not _holds_results(results / name):
            source_sha256 = _source_of(results / old)
            if source_sha256 is not None and source_sha256 == _sha256(one.source):
                taken.add(old)
                name = old
        kept.append(name)
    return kept


def _holds_results(folder: Path) -> bool:
    return any(folder.glob("timeline.*")) or (folder / "journal.arrows").exists()


def _source_of(folder: Path) -> str | None:
    """Return the hash of the recording whose timeline is in a folder; None if there is none."""
    for kind in ("parquet", "csv", "json"):
        path = folder / f"timeline.{kind}"
        if path.is_file():
            try:
                return read_timeline(path).metadata.get("source_sha256")
            except TimelineError:
                continue
    return None


def _sha256(source: str) -> str | None:
    try:
        return recording_sha256(source)
    except MoppetError:
        return None
