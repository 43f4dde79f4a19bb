"""`moppet report`: the page of a timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.options import PeopleOption, flag, output_option
from moppet.values import UsageError


def report(
    timeline: Annotated[Path, typer.Argument(help="A timeline (.parquet, .csv or .json).")],
    output: Annotated[
        Path | None, output_option("The page (.html); default: beside the timeline.")
    ] = None,
    show_faces: Annotated[
        Path | None,
        typer.Option(metavar="RECORDING", help="Show small images of the faces, from this video."),
    ] = None,
    blur: Annotated[bool, flag("--blur", "Blur these images.")] = False,
    people: PeopleOption = None,
) -> None:
    """Write the report of a timeline: one HTML page.

    The page needs no network and no other file.
    """
    if blur and show_faces is None:
        raise UsageError("--blur is for the images of --show-faces RECORDING.")
    from moppet.media import recording_sha256
    from moppet.pages.report import read_thumbnails, write_report
    from moppet.timeline.annotations import read_annotated

    read = read_annotated(timeline, people, thin=True)
    wanted = read.timeline.metadata.get("source_sha256")
    images = None
    if show_faces is not None:
        if show_faces.exists() and wanted and recording_sha256(show_faces) != wanted:
            raise UsageError(
                f"{timeline} belongs to another recording, not to {show_faces}: name the "
                "recording that was analyzed."
            )
        images = read_thumbnails(show_faces, read.timeline, blur=blur)
    page = output or timeline.with_name("report.html")
    typer.echo(str(write_report(read, page, thumbnails=images)))
