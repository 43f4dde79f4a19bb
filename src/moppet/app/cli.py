"""The command line: `moppet analyze | report | train | models`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from moppet.app.analyze import FORMATS, Job, analyze_all
from moppet.app.balance import balance
from moppet.app.comparison.command import compare
from moppet.app.data.commands import data
from moppet.app.export import export
from moppet.app.extras import extra
from moppet.app.quality.command import quality
from moppet.app.serve import serve
from moppet.app.studies import ablate, study
from moppet.app.synthesise import synthesise
from moppet.app.watch import watch
from moppet.infer.catalogue import bundled_models, read_card
from moppet.infer.detect import DETECTORS
from moppet.infer.pipeline import Settings
from moppet.timeline import TimelineSettings
from moppet.timeline.layers import read_layered
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
    paths: Annotated[list[str], typer.Argument(help="Videos, pictures, folders or 'patterns'.")],
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
        typer.Option(help="Show small face pictures taken from this recording."),
    ] = None,
    blur: Annotated[bool, typer.Option("--blur", help="Blur those pictures.")] = False,
    people: Annotated[
        Path | None,
        typer.Option(help="Who is who; default: the .people.json beside the timeline, if any."),
    ] = None,
) -> None:
    """Write a timeline's report: one page of HTML that needs no network."""
    from moppet.app.report import read_thumbnails, write_report

    if blur and thumbnails is None:
        raise UsageError("--blur is for the pictures of --thumbnails RECORDING.")
    read = read_layered(timeline, people).timeline
    pictures = None if thumbnails is None else read_thumbnails(thumbnails, read, blur=blur)
    page = output or timeline.with_name("report.html")
    typer.echo(str(write_report(read, page, thumbnails=pictures)))


app.command(epilog="Example: moppet export results/visit1/timeline.parquet --format elan")(export)
app.command(epilog="Example: moppet compare timeline.parquet codes.eaf --map cry=negative")(compare)
app.command(epilog="Example: moppet balance faces.parquet -o balanced --method smote")(balance)
app.command(epilog="Example: moppet synthesise my_faces/ -o made --method cgan")(synthesise)
app.command(epilog="Example: moppet quality made/ my_faces/ -o quality --pictures")(quality)


@app.command(epilog="Example: moppet train my_faces/ -o my_model --quick")
def train(
    what: Annotated[
        Path,
        typer.Argument(help="A recipe (.toml), or labelled pictures: folders named by class, …"),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the run; for pictures, of the model.")
    ],
    kind: Annotated[str | None, typer.Option(help="Kind of data set; default: by layout.")] = None,
    model: Annotated[str, typer.Option(help="The model to start from.")] = "default",
    epochs: Annotated[int | None, typer.Option(help="Times to see every picture.", min=1)] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few epochs, to try it out.")] = False,
    seed: Annotated[int, typer.Option(help="Of the split and the training.", min=0)] = 0,
    groups: Annotated[
        str | None, typer.Option(help='Groups: "class=group,…"; default: by the classes\' names.')
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(help="Regular expression whose (group) in a file's path names the child."),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="Lightning's: cpu, gpu, auto.")] = "auto",
    devices: Annotated[str, typer.Option(help="Lightning's: how many, or auto.")] = "auto",
    nodes: Annotated[int, typer.Option(help="Lightning's: machines of the run.", min=1)] = 1,
    strategy: Annotated[str, typer.Option(help="Lightning's: ddp, fsdp, auto, …")] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log for TensorBoard, too.")
    ] = False,
    show_augmentation: Annotated[
        Path | None,
        typer.Option(help="Only write this picture of the random views of some faces."),
    ] = None,
) -> None:
    """Train a model, by a recipe or on your own faces; run it again to go on when stopped."""
    with extra("train", "Training"):
        from moppet.app.train import OwnPictures, show_views, train_own
        from moppet.train.loop import Machine
        from moppet.train.run import run_recipe
    machine = Machine(accelerator, devices, nodes, strategy, tensorboard)
    own = OwnPictures(what, output, kind, model, epochs, quick, seed, groups, subject)
    if show_augmentation is not None:
        typer.echo(f"written: {show_views(own, show_augmentation)}")
    elif what.suffix == ".toml":
        typer.echo(f"model folder: {run_recipe(what, output, machine)}")
    else:
        train_own(own, machine)


@app.command(
    epilog="Example: moppet evaluate default my_faces/ --by subject --against my_model -o figures"
)
def evaluate(
    model: Annotated[str, typer.Argument(help="A bundled model, or a model folder.")],
    data: Annotated[
        Path, typer.Argument(help="Labelled pictures: a data set, or a manifest (.parquet).")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder; default: evaluation_ and the model's name."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Kind of data set, where its layout does not tell.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Rows to use, or 'all'; default: report where there is one, else all."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also figures by these columns of the data; with commas, or again."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with this model on the same faces.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Keep where the faces are in this .npz, for the next time."),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Show the faces of the worst mistakes in the page.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print evaluation.json, not tables.")
    ] = False,
) -> None:
    """Say how well a model reads labelled faces: tables, evaluation.json and evaluation.html."""
    from moppet.app.evaluate import Job, evaluate_model

    evaluate_model(
        Job(
            *(model, data, output, kind, split, by or ()),
            against=against,
            cache=cache,
            pictures=pictures,
            as_json=as_json,
        )
    )


@app.command(epilog="Example: moppet explain default my_faces/ --method occlusion -o looks")
def explain(
    model: Annotated[str, typer.Argument(help="A bundled model, or a model folder.")],
    data: Annotated[
        Path, typer.Argument(help="A picture, a folder of them, a data set, or a manifest.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A new folder for what is written.")
    ] = Path("moppet_explanation"),
    kind: Annotated[
        str | None, typer.Option(help="Kind of data set, where its layout does not tell.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="grad-cam (models of moppet train) or occlusion (any model; slower)."),
    ] = "grad-cam",
    of: Annotated[
        str, typer.Option(help="Explain the predicted class, the label, or this class.")
    ] = "predicted",
    split: Annotated[
        str | None,
        typer.Option(help="Rows to use, or 'all'; default: report where there is one, else all."),
    ] = None,
    limit: Annotated[
        int, typer.Option(help="Explain so many pictures, drawn at random; 0 for all.", min=0)
    ] = 200,
    mean_only: Annotated[
        bool, typer.Option("--mean-only", help="Write no picture that shows a face.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draw and the intervals.", min=0)] = 0,
) -> None:
    """Show what a model looks at: an overlay a picture, mean maps, and shares of eyes and mouth."""
    from moppet.app.explanation.run import Job, explain_model

    explain_model(Job(model, data, output, kind, method, of, split, limit, mean_only, seed))


app.command(epilog="Example: moppet ablate recipes/child-happy-sad.toml --minutes 60")(ablate)
app.command(epilog="Example: moppet study recipes/infant-hybrid.toml --jobs 2")(study)
app.command(epilog="Example: moppet serve --no-browser --workspace visits")(serve)
app.command(epilog="Example: moppet watch camera:0 --on-alert 'notify-send moppet'")(watch)


@app.command(epilog="Example: moppet card my_model --evaluation evaluation_my_model -o card")
def card(
    model: Annotated[str, typer.Argument(help="A bundled model, or a model folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the card.")] = Path(
        "moppet_card"
    ),
    evaluation: Annotated[
        Path | None,
        typer.Option(help="The evaluation.json of `moppet evaluate`, or its folder."),
    ] = None,
) -> None:
    """Write a model's card in Markdown and HTML, from what is saved about it."""
    from moppet.app.model_card.run import write_model_card

    for path in write_model_card(model, output, evaluation):
        typer.echo(str(path))


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
    for name, card in cards.items():
        score = card.get("scores", {}).get("accuracy", {})
        measured = (
            f"accuracy {score['value']:.3f} ({score['low']:.3f}-{score['high']:.3f}), "
            f"n = {score['n']}"
            if {"value", "low", "high", "n"} <= score.keys()
            else "no figures on its card"
        )
        console.print(f"{name}: {', '.join(card['labels'])}", highlight=False)
        console.print(f"  {measured}; licence {card.get('licence', 'not stated')}", highlight=False)
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
