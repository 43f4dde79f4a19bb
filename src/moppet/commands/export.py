"""`moppet export`: timelines as files of coding programs, or a table of summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from moppet.commands.options import (
    PeopleOption,
    SeedOption,
    format_option,
    output_option,
    read_list,
)
from moppet.values import UsageError

SUMMARY: Final = "summary"
BIDS: Final = "bids"
FORMATS: Final = ("elan", "boris", "datavyu", "textgrid", SUMMARY, BIDS)
"""The programs of `moppet.coders.PROGRAMS`, here so that the command line starts without it."""
LEVEL: Final = 0.5
"""That of `moppet.timeline.movements`, here for the same reason."""


def export(
    timelines: Annotated[list[Path], typer.Argument(help="Timelines, or a study for bids.")],
    output: Annotated[
        Path | None, output_option("Folder for the files; default: the timeline's.")
    ] = None,
    formats: Annotated[str, format_option(FORMATS)] = "elan",
    probabilities: Annotated[
        float, typer.Option(help="Seconds per exported mean probability; 0 for none.", min=0)
    ] = 1.0,
    movements: Annotated[
        str | None, typer.Option(help="Movements to code: all, or names with commas.")
    ] = None,
    level: Annotated[
        float, typer.Option(help="A movement is coded from this value on.", min=0.05, max=1)
    ] = LEVEL,
    sample: Annotated[
        str | None,
        typer.Option(help="Draw this share of the time to be coded blind, such as 20%."),
    ] = None,
    segment: Annotated[float, typer.Option(help="Seconds of a segment of --sample.")] = 30.0,
    seed: SeedOption = 0,
    people: PeopleOption = None,
) -> None:
    """Export timelines to ELAN, BORIS, Datavyu, Praat or CSV.

    The format summary writes one summary.csv for all timelines. With --movements, files of coding
    programs also have facial movements, if the model measured them. --sample draws segments for
    coders, without what the model read. The format bids writes a study that moppet gather made.
    """
    if BIDS in read_list(formats, FORMATS, "--format"):
        _write_bids(timelines, output, formats)
        return
    if sample is not None:
        wanted = read_list(formats, FORMATS, "--format")
        _write_sample(timelines, output, wanted, sample, segment, seed)
        return
    wanted = read_list(formats, FORMATS, "--format")
    if 0 < probabilities < 0.01:
        raise UsageError(f"--probabilities takes 0, or at least 0.01 seconds, got {probabilities}.")
    if people is not None and len(timelines) > 1:
        raise UsageError(
            f"--people is for one timeline, got {len(timelines)}. Name files beside the timelines "
            "are found without it."
        )
    chosen = read_list(movements)
    if movements is not None and not (chosen and set(wanted) - {SUMMARY}):
        raise UsageError(
            "--movements takes names such as brow_lower,blink, or all, for the files of coding "
            "programs; summary.csv has the means of all movements."
        )
    from moppet.coders.programs import write_programs
    from moppet.files import result_folder, write_text
    from moppet.timeline.annotations import read_annotated
    from moppet.timeline.summary import summary_csv

    read = lru_cache(maxsize=1)(lambda path: read_annotated(path, people))  # memory for one
    about = [read(path).timeline.metadata for path in timelines]
    programs = [name for name in wanted if name != SUMMARY]
    if programs:
        targets = _targets(timelines, about, output)
        for (folder, stem), path in zip(targets, timelines, strict=True):
            with result_folder(folder):
                for written in write_programs(
                    *(read(path), folder, stem, programs, probabilities, chosen, level)
                ):
                    typer.echo(str(written))
    if SUMMARY in wanted:
        folder = output or timelines[0].parent
        with result_folder(folder):
            text = summary_csv(read(path).summary() for path in timelines)
            typer.echo(str(write_text(folder / "summary.csv", text)))


def _write_bids(studies: Sequence[Path], output: Path | None, formats: str) -> None:
    """Write the BIDS dataset of one study."""
    if len(studies) != 1 or read_list(formats) != [BIDS]:
        raise UsageError(
            "--format bids takes one study that moppet gather made, and no other format."
        )
    from moppet.cohort.bids import write_bids
    from moppet.cohort.study_folder import read_study
    from moppet.files import result_folder

    study, folder = read_study(studies[0]), output or Path("moppet_bids")
    with result_folder(folder):
        written = write_bids(study, folder)
    typer.echo(f"{folder}: {len(written)} files")


def _write_sample(
    timelines: Sequence[Path],
    output: Path | None,
    formats: Sequence[str],
    share: str,
    segment_s: float,
    seed: int,
) -> None:
    """Write a coder's file for each timeline, sample.csv, and the list for `compare --list`."""
    from os.path import relpath

    from moppet.coders.sampling import draw_segments, read_share, write_sample
    from moppet.files import result_folder, write_csv
    from moppet.timeline import read_timeline

    part = read_share(share)
    if {SUMMARY, BIDS} & set(formats) or len(formats) != 1:
        raise UsageError("--sample takes one --format of a coding program, such as elan.")
    folder = output or Path("moppet_sample")
    rng = np.random.default_rng(seed)
    drawn: list[list[str | int]] = []
    files: list[list[str]] = []
    with result_folder(folder):
        for number, path in enumerate(timelines, start=1):
            timeline = read_timeline(path)
            segments = draw_segments(timeline, part, segment_s, rng)
            source = str(timeline.metadata.get("source_name") or path.name)
            stem = f"{number:03d}_{Path(source).stem}"
            (written, *_) = write_sample(timeline, segments, folder, stem, formats[0])
            typer.echo(str(written))
            times = ((one.number, f"{one.start_s:.3f}", f"{one.end_s:.3f}") for one in segments)
            drawn += [[written.name, source, *row] for row in times]
            files.append([relpath(path, folder), written.name])
        heads = ("file", "recording", "segment", "start_s", "end_s")
        typer.echo(str(write_csv(folder / "sample.csv", heads, drawn)))
        listed = write_csv(folder / "list.csv", ("timeline", "codes"), files)
        typer.echo(str(listed))


def _targets(
    timelines: Sequence[Path], metadata: Sequence[Mapping[str, Any]], output: Path | None
) -> list[tuple[Path, str]]:
    """Return the folder and the name of each timeline's files, which is its recording's.

    Raises UsageError if files of two recordings would have one name.
    """
    found: dict[tuple[Path, str], tuple[Path, Any]] = {}
    targets = []
    for path, about in zip(timelines, metadata, strict=True):
        target = (output or path.parent, Path(str(about.get("source_name") or path.name)).stem)
        other, source_sha256 = found.setdefault(target, (path, about.get("source_sha256")))
        if other != path and (source_sha256 is None or source_sha256 != about.get("source_sha256")):
            raise UsageError(
                f"{other} and {path} are both of a recording called {target[1]}: export them into "
                "different folders."
            )
        targets.append(target)
    return targets
