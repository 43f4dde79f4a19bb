"""`moppet methods`: a study's methods paragraph and its references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.options import output_option
from moppet.commands.summarize import StudyArgument


def methods(
    study: StudyArgument,
    output: Annotated[
        Path | None, output_option("Folder for methods.md and methods.bib; default: the study.")
    ] = None,
    agreement: Annotated[
        Path | None,
        typer.Option(help="reliability.json or agreement.json of moppet compare."),
    ] = None,
) -> None:
    """Write the methods paragraph of a study, and its BibTeX.

    Names versions, hashes, settings, lost and unsure time, corrections and agreement. Read it
    before you use it: it knows only what the files of the study hold.
    """
    from moppet.cohort.methods import describe_methods
    from moppet.cohort.study_folder import read_study
    from moppet.files import write_text

    found = describe_methods(read_study(study), agreement)
    folder = output or study
    typer.echo(found.text)
    typer.echo(f"  {write_text(folder / 'methods.md', found.text)}")
    typer.echo(f"  {write_text(folder / 'methods.bib', found.bibtex)}")
