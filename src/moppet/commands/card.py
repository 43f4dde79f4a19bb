"""`moppet card`: a model card in Markdown and HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.commands.options import ModelArgument, output_option


def card(
    model: ModelArgument,
    output: Annotated[Path, output_option("Output folder.")] = Path("moppet_card"),
    evaluation: Annotated[
        Path | None,
        typer.Option(help="evaluation.json of `moppet evaluate`, or its output folder."),
    ] = None,
) -> None:
    """Write a model card in Markdown and HTML."""
    from moppet.pages.card import write_model_card

    for path in write_model_card(model, output, evaluation):
        typer.echo(str(path))
