"""The command line: its commands, and how a mistake ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

import moppet
from moppet.commands.analyze import analyze
from moppet.commands.balance import balance
from moppet.commands.blur import blur
from moppet.commands.card import card
from moppet.commands.compare import compare
from moppet.commands.data import data
from moppet.commands.distress import distress
from moppet.commands.dyads import dyads
from moppet.commands.evaluate import evaluate
from moppet.commands.explain import explain
from moppet.commands.export import export
from moppet.commands.gather import gather
from moppet.commands.methods import methods
from moppet.commands.models import models
from moppet.commands.options import Verbs, add_command
from moppet.commands.quality import quality
from moppet.commands.render import synthesis
from moppet.commands.report import report
from moppet.commands.serve import serve
from moppet.commands.study import study
from moppet.commands.summarize import summarize
from moppet.commands.train import train
from moppet.commands.watch import watch
from moppet.values import MoppetError

FIRST_STEPS: Final = """\
moppet reads facial expressions in photos and video, on your own machine.

Read a recording:             moppet analyze visit1.mp4
Work in the browser:          moppet serve
Train on your own faces:      moppet train my_faces/ -o my_model

moppet --help lists all commands, moppet COMMAND --help explains one."""

app = typer.Typer(
    cls=Verbs,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
    help="Read facial expressions of infants, children and adults, on your own machine.",
)


@app.callback(invoke_without_command=True)
def _first_steps(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"moppet {moppet.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(FIRST_STEPS)


_COMMANDS: Final[Mapping[str, Sequence[tuple[Callable[..., Any], str]]]] = {
    "Recordings": (
        (analyze, "analyze visit1.mp4 'second/*.mov' -o results --format parquet,csv"),
        (report, "report results/visit1/timeline.parquet -o visit1.html"),
        (serve, "serve --no-browser --workspace visits"),
        (watch, "watch camera:0 --on-alert 'notify-send moppet'"),
        (compare, "compare timeline.parquet codes.eaf --map cry=negative"),
        (export, "export results/visit1/timeline.parquet --format elan"),
        (blur, "blur visit1.mp4 -o talk.mp4 --overlay"),
    ),
    "Studies": (
        (gather, "gather results -o study --recordings recordings.csv"),
        (summarize, "summarize study --by condition,role --label happiness"),
        (dyads, "dyads study --roles child,caregiver"),
        (methods, "methods study --agreement reliability/reliability.json"),
    ),
    "Models": (
        (models, "models --json"),
        (card, "card my_model --evaluation evaluation_my_model -o card"),
        (train, "train my_faces/ -o my_model --quick"),
        (evaluate, "evaluate default my_faces/ --by subject --against my_model -o figures"),
        (distress, "distress my_model guard/ analyzed/"),
        (explain, "explain default my_faces/ --method occlusion -o explanation"),
        (study, "study recipes/infant-hybrid.toml --jobs 2"),
    ),
    "Datasets": (
        (balance, "balance faces.parquet -o balanced --method smote"),
        (quality, "quality synthetic/ -o quality --show-faces"),
    ),
}
"""Heading of --help → its commands, and an example of each."""
_OLD_OPTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "report": {"--thumbnails": "--show-faces"},
    "compare": {"--from": "--start", "--to": "--end"},
    "evaluate": {"--pictures": "--show-faces"},
    "balance": {"--sheet": "--show-faces", "--neighbours": "--neighbors"},
    "quality": {"--pictures": "--show-faces", "--judge": "--classifier"},
}

for _panel, _rows in _COMMANDS.items():
    for _run, _example in _rows:
        add_command(app, _run, _example, _OLD_OPTIONS.get(_run.__name__), _panel)
app.add_typer(data, name="data", rich_help_panel="Datasets")
app.add_typer(synthesis, name="synthesize", rich_help_panel="Datasets")


def main() -> None:
    """Run the command line. A user's mistake ends in one sentence, never in a traceback."""
    try:
        app(prog_name="moppet")
    except MoppetError as error:
        typer.echo(f"moppet: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("moppet: stopped.", err=True)
        sys.exit(130)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        typer.echo(f"moppet: {error.strerror or error}{where}.", err=True)
        sys.exit(1)
