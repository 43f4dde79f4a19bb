"""The command line: every command, and how a mistake ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from moppet.commands.analyze import FORMATS, Job, analyze_all
from moppet.commands.balance import balance
from moppet.commands.compare import compare
from moppet.commands.data import data
from moppet.commands.export import export
from moppet.commands.laboratory import card, evaluate, explain, train
from moppet.commands.quality import quality
from moppet.commands.serve import serve
from moppet.commands.study import ablate, study
from moppet.commands.synthesize import synthesise
from moppet.commands.watch import watch
from moppet.infer.detectors import DETECTORS
from moppet.infer.models import bundled_models, read_card
from moppet.infer.pipeline import Settings
from moppet.timeline import TimelineSettings
from moppet.timeline.annotations import read_layered
from moppet.values import MoppetError, UsageError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Reads facial expressions of infants, children and adults, on your own machine.",
)
app.add_typer(data, name="data")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"moppet {installed('moppet')}")
        raise typer.Exit


@app.command(
    epilog="Example: moppet analyze visit1.mp4 'second/*.mov' -o results --format parquet,csv"
)
def analyze(
    paths: Annotated[list[str], typer.Argument(help="Videos, images, folders or 'patterns'.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.")] = Path(
        "moppet_results"
    ),
    formats: Annotated[
        str, typer.Option("--format", help=f"Any of {', '.join(FORMATS)}, with commas.")
    ] = "parquet",
    every: Annotated[int, typer.Option(help="Analyse every Nth frame.", min=1)] = 1,
    detector: Annotated[str, typer.Option(help=f"One of {', '.join(DETECTORS)}.")] = "mtcnn",
    detector_model: Annotated[
        Path | None, typer.Option(help="The detector's model file, where it needs one.")
    ] = None,
    model: Annotated[str, typer.Option(help="A bundled model, or a model folder.")] = "default",
    start: Annotated[float | None, typer.Option(help="Start at this second.", min=0)] = None,
    end: Annotated[float | None, typer.Option(help="End at this second.", min=0)] = None,
    smooth: Annotated[
        float, typer.Option(help="Smoothing in seconds; 0 switches it off.", min=0)
    ] = TimelineSettings().smooth_s,
    min_face: Annotated[
        float | None, typer.Option(help="Smallest face looked for, in pixels.")
    ] = None,
    detect_every_frame: Annotated[
        bool, typer.Option("--detect-every-frame", help="Search every frame for faces (slow).")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a stopped analysis ended.")
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.html.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summaries as JSON lines.")
    ] = False,
) -> None:
    """Read the faces of recordings: a timeline, a summary and a report for each."""
    settings = Settings(
        model=model,
        detector=detector,
        detector_model=None if detector_model is None else str(detector_model),
        every=every,
        start_s=start,
        end_s=end,
        detect_every_frame=detect_every_frame,
        min_face_px=min_face,
        timeline=TimelineSettings(smooth_s=smooth),
    )
    job = Job(
        sources=paths,
        folder=output,
        settings=settings,
        formats=_formats(formats),
        resume=resume,
        report=not no_report,
        as_json=as_json,
    )
    raise typer.Exit(analyze_all(job))


@app.command(epilog="Example: moppet report results/visit1/timeline.parquet -o visit1.html")
def report(
    timeline: Annotated[Path, typer.Argument(help="A timeline (.parquet, .csv or .json).")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page; default: beside the timeline.")
    ] = None,
    thumbnails: Annotated[
        Path | None,
        typer.Option(help="Show small face images taken from this recording."),
    ] = None,
    blur: Annotated[bool, typer.Option("--blur", help="Blur those images.")] = False,
    people: Annotated[
        Path | None,
        typer.Option(help="Who is who; default: the .people.json beside the timeline, if any."),
    ] = None,
) -> None:
    """Write a timeline's report: one page of HTML that needs no network."""
    from moppet.pages.report import read_thumbnails, write_report

    if blur and thumbnails is None:
        raise UsageError("--blur is for the images of --thumbnails RECORDING.")
    read = read_layered(timeline, people).timeline
    pictures = None if thumbnails is None else read_thumbnails(thumbnails, read, blur=blur)
    page = output or timeline.with_name("report.html")
    typer.echo(str(write_report(read, page, thumbnails=pictures)))


app.command(epilog="Example: moppet export results/visit1/timeline.parquet --format elan")(export)
app.command(epilog="Example: moppet compare timeline.parquet codes.eaf --map cry=negative")(compare)
app.command(epilog="Example: moppet balance faces.parquet -o balanced --method smote")(balance)
app.command(epilog="Example: moppet synthesize my_faces/ -o made --method cgan")(synthesise)
app.command(epilog="Example: moppet quality made/ -o quality --pictures")(quality)
app.command(epilog="Example: moppet train my_faces/ -o my_model --quick")(train)
app.command(
    epilog="Example: moppet evaluate default my_faces/ --by subject --against my_model -o figures"
)(evaluate)
app.command(epilog="Example: moppet explain default my_faces/ --method occlusion -o looks")(explain)
app.command(epilog="Example: moppet ablate recipes/child-happy-sad.toml --minutes 60")(ablate)
app.command(epilog="Example: moppet study recipes/infant-hybrid.toml --jobs 2")(study)
app.command(epilog="Example: moppet serve --no-browser --workspace visits")(serve)
app.command(epilog="Example: moppet watch camera:0 --on-alert 'notify-send moppet'")(watch)
app.command(epilog="Example: moppet card my_model --evaluation evaluation_my_model -o card")(card)


@app.command(epilog="Example: moppet models --json")
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that are there, with what they read and how well."""
    cards = {name: read_card(folder) for name, folder in bundled_models().items()}
    if as_json:
        typer.echo(json.dumps(cards, indent=1))
        return
    console = Console()
    for name, found in cards.items():
        score = found.get("scores", {}).get("accuracy", {})
        measured = (
            f"accuracy {score['value']:.3f} ({score['low']:.3f}-{score['high']:.3f}), "
            f"n = {score['n']}"
            if {"value", "low", "high", "n"} <= score.keys()
            else "no figures on its card"
        )
        console.print(f"{name}: {', '.join(found['labels'])}", highlight=False)
        console.print(
            f"  {measured}; license {found.get('licence', 'not stated')}", highlight=False
        )
        console.print(f"  {bundled_models()[name]}", highlight=False, soft_wrap=True)


def _formats(text: str) -> tuple[str, ...]:
    wanted = tuple(part.strip().lower() for part in text.split(",") if part.strip())
    unknown = [part for part in wanted if part not in FORMATS]
    if unknown or not wanted:
        raise UsageError(f"--format takes any of {', '.join(FORMATS)}, got {text!r}.")
    return wanted


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence, never in a traceback."""
    try:
        app()
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
