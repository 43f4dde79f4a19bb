"""The command line of `moppet data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moppet.app.data.source import Source, read_options
from moppet.values import UsageError

data = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Know pictures before they are used: audit them, split them, compare their raters.",
)

_Where = Annotated[
    Path, typer.Argument(help="A data set, folders named by class, a CSV, or a manifest.")
]
_Kind = Annotated[str | None, typer.Option(help="Kind of data set; default: by its layout.")]
_Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="name=value for the set's reader; may come several times."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Seed = Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)]


@data.command(epilog="Example: moppet data audit my_faces/ -o my_faces.parquet")
def audit(
    path: _Where,
    kind: _Kind = None,
    option: _Options = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the manifest, copies marked (.parquet)."),
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="Look for a face in every picture, too (slow).")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Find copies, leaks, damaged pictures and doubtful labels; exit 1 if a split leaks."""
    from moppet.app.data.audit import run_audit

    source = Source(path, kind, read_options(option or []))
    raise typer.Exit(run_audit(source, output=output, faces=faces, as_json=as_json))


@data.command(epilog="Example: moppet data split my_faces/ -o my_faces.parquet --folds 5")
def split(
    path: _Where,
    output: Annotated[Path, typer.Option("-o", "--output", help="The manifest (.parquet).")],
    kind: _Kind = None,
    option: _Options = None,
    test: Annotated[
        float | None, typer.Option(help="Share of pictures that report; default 0.2.")
    ] = None,
    choose: Annotated[
        float | None,
        typer.Option(help="Share set aside from training for every choice; default 0.1, 0: none."),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Number folds of the rows that do not report.")
    ] = None,
    keep_report: Annotated[
        bool, typer.Option("--keep-report", help="Keep the rows that report as the set has them.")
    ] = False,
    seed: _Seed = 0,
    as_json: _Json = False,
) -> None:
    """Split pictures by class and age band; a subject's and a picture's copies stay together."""
    from moppet.app.data.split import SplitJob, run_split

    source = Source(path, kind, read_options(option or []))
    run_split(SplitJob(source, output, test, choose, folds, keep_report, seed, as_json))


@data.command(epilog="Example: moppet data agreement ann.csv ben.csv --disagreements decide.csv")
def agreement(
    files: Annotated[list[Path], typer.Argument(help="A CSV for each rater: path,label.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the manifest (.parquet).")
    ] = None,
    adjudication: Annotated[
        Path | None, typer.Option(help="A CSV (path,label) that decides disputed pictures.")
    ] = None,
    disagreements: Annotated[
        Path | None, typer.Option(help="Write the undecided pictures as a CSV to fill in.")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Where the pictures' paths start; default: the first file's folder."),
    ] = None,
    seed: _Seed = 0,
    as_json: _Json = False,
) -> None:
    """Say how far raters agree (Cohen's and Fleiss' kappa), and make one manifest of them all."""
    from moppet.app.data.agreement import AgreementJob, run_agreement

    run_agreement(
        AgreementJob(tuple(files), output, adjudication, disagreements, root, seed, as_json)
    )


@data.command(epilog="Example: moppet data corrected timeline.parquet visit1.mp4 -o corrected")
def corrected(
    timeline: Annotated[Path, typer.Argument(help="A timeline that was set right in the page.")],
    recording: Annotated[Path, typer.Argument(help="The recording that it is of.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the faces and a CSV for each coder.")
    ],
    every: Annotated[
        float, typer.Option(help="Seconds between two faces of one stretch.", min=0.04)
    ] = 1.0,
) -> None:
    """Cut out the faces that coders set right, with their labels, to train on or to compare."""
    from moppet.data.corrected import labelled_faces, write_labelled
    from moppet.media import file_sha256
    from moppet.timeline.layers import read_layered

    layered = read_layered(timeline)
    wanted = layered.timeline.metadata.get("source_sha256")
    if not recording.is_file():
        raise UsageError(f"The recording is a file, but {recording} is not there.")
    if wanted and file_sha256(recording) != wanted:
        raise UsageError(f"{timeline} is of another recording than {recording}.")
    files, count = write_labelled(labelled_faces(layered, every), recording, output)
    typer.echo(f"{count} faces in {output}")
    for file in files:
        typer.echo(str(file))
    if len(files) == 1:
        typer.echo(f"to train on them: moppet train {files[0]} -o my_model")
    else:
        typer.echo(f"to compare the coders: moppet data agreement {' '.join(map(str, files))}")
